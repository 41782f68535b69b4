(function () {
  "use strict";
  function button(label, act) {
    var made = document.createElement("button");
    made.type = "button";
    made.textContent = label;
    made.addEventListener("click", function () { act(made); });
    return made;
  }
  document.querySelectorAll("pre.command").forEach(function (block) {
    if (!navigator.clipboard) { return; }
    block.parentNode.insertBefore(button("Copy command", function (made) {
      navigator.clipboard.writeText(block.textContent).then(function () { made.textContent = "Copied"; });
    }), block);
  });
  var tools = document.getElementById("finding-tools");
  if (tools) {
    tools.appendChild(button("Unfold all", function (made) {
      var open = made.textContent === "Unfold all";
      document.querySelectorAll("details.finding").forEach(function (one) { one.open = open; });
      made.textContent = open ? "Fold all" : "Unfold all";
    }));
  }
  function reveal() {
    var target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target || target.tagName !== "DETAILS") { return; }
    for (var one = target; one; one = one.parentElement) {
      if (one.tagName === "DETAILS") { one.open = true; }
    }
    target.scrollIntoView();
  }
  window.addEventListener("hashchange", reveal);
  reveal();
})();
