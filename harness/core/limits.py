"""Every maximum of the harness, by name, in one place. Units are last in the name; sizes are bytes."""

from typing import Final

# Messages
HEAD_BYTES_MAX: Final = 64 * 1024
"""Request line and headers together, and an answer's status line and headers."""
REQUEST_BODY_BYTES_MAX: Final = 64 * 1024 * 1024
"""A larger request body is refused with 413."""
CAPTURE_BODY_BYTES_MAX: Final = 4 * 1024 * 1024
"""What is kept of a body; the rest is digested and streamed on."""
DECODED_BODY_BYTES_MAX: Final = 32 * 1024 * 1024
"""What a content coding may unfold to."""
STREAM_BUFFER_BYTES_MAX: Final = 256 * 1024
"""What may wait in one direction of a relayed exchange before the sender is paused."""

# Live path
SHADOW_TRIALS_IN_FLIGHT_MAX: Final = 256
"""Shadow trials under way at once; further ones are shed before sending."""
UPSTREAM_IDLE_CONNECTIONS_MAX: Final = 128
"""Idle connections kept for each target."""
COMPARE_QUEUE_MAX: Final = 1024
"""Trials waiting for comparison."""
COMPARE_STALL_SECONDS_MAX: Final = 30.0
"""How long comparison may make no progress when a run ends, before it is given up as an error."""
INGRESS_STALL_SECONDS_MAX: Final = 20.0
"""How long nothing may move in an ingress worker before it is replaced: what it has in hand is lost by that, so no sooner."""
STABLE_FAILURES_MIN: Final = 3
"""Broken or missing answers of stable, with fewer good ones beside them, that make it unreachable; a refused connection does at once."""
STABLE_BACK_SECONDS: Final = 3.0
"""How long stable must answer again before that is said."""
COMPARE_QUEUE_BYTES_MAX: Final = 256 * 1024 * 1024
"""Body bytes waiting for comparison."""
REQUEST_BODY_BYTES_PER_SECOND_MIN: Final = 256
"""What a client has to send of a request body, on average since its first bytes; a slower one is refused with 408."""
REQUEST_BODY_GRACE_SECONDS: Final = 10.0
"""How long after a body's first bytes nothing is asked of its rate."""
COPIES_LAG_SECONDS_MAX: Final = 0.05
"""How late the event loop of a receiver of copies may be before it sheds what comes in."""
PIPELINED_REQUESTS_MAX: Final = 32
"""Requests read ahead on one client connection before reading pauses."""
SHADOW_BYTES_IN_FLIGHT_MAX: Final = 256 * 1024 * 1024
"""Captured body bytes held by shadow trials under way; further trials are shed before sending."""
SHADOW_ANSWER_BYTES_MAX: Final = 8 * 1024 * 1024
"""How much longer than twice stable's answer a shadow's may be; one that goes on is given up, so that it cannot hold up clients."""
STREAM_SECONDS_MAX: Final = 10.0
"""How long a shadow's or a replayed stream of events is listened to; what came until then is compared."""
LIVE_CAPTURE_BYTES_MAX: Final = 256 * 1024 * 1024
"""Captured body bytes held by all live exchanges under way; beyond it an exchange is relayed without being captured."""
INTERIM_ANSWERS_MAX: Final = 16
"""1xx answers before the final one; a target that sends more is sending garbage."""
CHUNK_OVERHEAD_BYTES_PER_BYTE_MAX: Final = 16
"""Chunk framing (sizes, extensions) for each byte of body, on top of one head's worth."""
PLAIN_HEAD_BYTES_MAX: Final = 8 * 1024
"""A longer head is read field by field."""
PLAIN_HEADS_MAX: Final = 512
"""Heads of a target's answers that are remembered."""
LINGER_BYTES_MAX: Final = 1024 * 1024
"""What is read and thrown away after a request was answered before its end."""
WARM_UP_REQUESTS: Final = 200
"""First live requests of an endpoint whose latency does not count."""
WARM_UP_SECONDS: Final = 60
"""Seconds after an endpoint's first live request in which its latency does not count."""
HTTP2_STREAMS_MAX: Final = 100
"""Requests under way at once on one HTTP/2 connection of a client."""
FRONT_PIECE_BYTES_MAX: Final = 64 * 1024
"""What is handed at once to the front of a connection that the native path does not speak itself."""
WORKERS_MAX: Final = 64
"""Processes of one kind (ingress, comparison) of a run."""
CLIENTS_MAX: Final = 100_000
"""The most client connections that a user may allow at once."""
CLIENTS_DEFAULT: Final = 10_000
"""Client connections at once where the user says nothing; further ones are refused."""
CLIENTS_TURNED_AWAY_MAX: Final = 256
"""Connections beyond the cap that are told so, and given the time to hear it, at once; beyond these they are cut."""
SHADOW_RPS_MAX: Final = 1_000_000
"""The most requests a second that a user may allow a shadow target."""
SHADOW_BURST_SECONDS: Final = 0.001
"""How long a shadow may wait for others to be sent with: no client waits for it, and each wake-up of a target costs."""
RATE_BURST_SECONDS: Final = 0.1
"""How much of a second's requests may go to a shadow target at once after a pause."""
BACK_OFF_SPELL_SECONDS: Final = 10.0
"""For so long exchanges with a target are gathered before it is looked whether they became slower or worse."""
BACK_OFF_EXCHANGES_MIN: Final = 20
"""And so many."""
BACK_OFF_LATENCIES_MAX: Final = 256
"""Of these the median is taken: the first of a spell."""
BACK_OFF_SPELLS: Final = 12
"""The recent past of a target, in spells."""
BACK_OFF_FACTOR_MAX: Final = 64
"""How much seldomer a target that suffers is asked again, at most."""
CONFIRM_RATE_MAX: Final = 100.0
"""Requests a second that may be asked again of a target, at most."""
CONFIRM_DAILY_MAX: Final = 10_000_000
"""And in a day."""
CONFIRM_WAITING_MAX: Final = 256
"""Requests that are held to be asked again."""
CONFIRM_WAITING_BYTES_MAX: Final = 32 * 1024 * 1024
"""And their bodies, with those of the answers that are held with them."""
CONFIRM_SENDS_MAX: Final = 200
"""How often one request is asked again at most."""
BREAKER_WINDOW: Final = 200
"""Last exchanges with a shadow target that its breaker looks at."""
BREAKER_EXCHANGES_MIN: Final = 100
"""Exchanges seen before a breaker may open, so that a candidate that fails leaves enough trials to be judged by."""
BREAKER_PROBES: Final = 10
"""Trials sent, each time a breaker has been open for its time, to find out whether the target has recovered."""
BREAKER_LATENCY_MS_MAX: Final = 3_600_000
"""The most milliseconds that a breaker may be told to bear."""
BREAKER_OPEN_S_MAX: Final = 3600
"""The longest a breaker may stay open before it tries again."""
PATH_SEGMENT_KEYS_MAX: Final = 32
"""The path segment furthest from the start that a sample may be keyed by."""
EXCLUSION_CACHE_MAX: Final = 4096
"""Paths of which it is remembered whether they are excluded."""

# Between the harness's own processes
LISTEN_BACKLOG_MAX: Final = 1024
"""Connections that wait to be accepted, for each ingress worker."""
BUS_FRAME_BYTES_MAX: Final = 64 * 1024 * 1024
"""One frame: a trial with each arm's request and answer at their capture bounds, and some."""
BUS_SHARED_BODY_BYTES_MIN: Final = 16 * 1024
"""Bodies from this size on are carried once where arms have them in common; for smaller ones copying is cheaper than looking."""
BUS_TRIALS_MAX: Final = 4096
"""Trials of an ingress worker that wait for comparison, or are being compared."""
BUS_BYTES_MAX: Final = 128 * 1024 * 1024
"""Body bytes of the same."""
BUS_BURST_BYTES_MAX: Final = 128 * 1024
"""What may wait on a link for more to be sent with it."""
BUS_RESULTS_PER_FRAME_MAX: Final = 256
"""Results that a compare worker hands on at once."""
BUS_RESULTS_BYTES_MAX: Final = 1024 * 1024
"""Size at which results are handed on, however few they are."""
FOLD_QUEUE_FRAMES_MAX: Final = 64
"""Frames of results that wait to be folded; beyond it compare workers are not read."""
FOLD_QUEUE_BYTES_MAX: Final = 64 * 1024 * 1024
"""Size of the same."""
RECORD_UNSENT_BYTES_MAX: Final = 32 * 1024 * 1024
"""Exchanges to be recorded that wait in an ingress worker; further ones are lost and counted."""

# Endpoint templates and labels
ENDPOINTS_MAX: Final = 512
"""Distinct endpoints in a run; further ones count as `other`."""
OTHER_ENDPOINT: Final = "other"
TARGET_SEGMENTS_MAX: Final = 32
"""Path segments looked at; the rest of a longer path becomes `**`."""
SEGMENT_CHARS_MAX: Final = 96
"""Length of a literal path segment in a template; a longer one becomes `{text}`."""
OPERATION_CHARS_MAX: Final = 64
"""Length of a GraphQL or JSON-RPC operation name in an endpoint."""
OPERATIONS_PER_BATCH_MAX: Final = 8
"""Operation names of a batch that are named; further ones become `...`."""
ENDPOINT_CACHE_MAX: Final = 4096
"""Paths whose template is remembered."""
ENDPOINT_CACHE_CHARS_MAX: Final = 512
"""Length of a path or target, with its host where that counts, beyond which what is said of it is not remembered."""
NAMES_CACHE_MAX: Final = 4096
"""Requests without a body whose endpoint and entity are remembered."""

# Comparison
JSON_DEPTH_MAX: Final = 200
"""Deeper documents are compared as text."""
DIFFERENCES_PER_PAIR_MAX: Final = 200
"""Differences kept of one pair of exchanges; the last one says that there were more."""
PREVIEW_CHARS_MAX: Final = 240
"""Length of a value kept in a difference."""
TEXT_LINES_MAX: Final = 20_000
"""Lines of a text body compared line by line; beyond it the text is compared as a whole."""

PATH_CHARS_MAX: Final = 512
"""Length of a difference's path; the rest of a longer one becomes `…`."""
RULE_STATES_MAX: Final = 4096
"""Remembered places of a set of rules, for each endpoint and aspect; beyond it the memory starts anew."""
UNORDERED_PAIRS_MAX: Final = 24
"""Elements left over on a side of an unordered array that are paired by likeness; more are paired in canonical order."""
UNORDERED_BYTES_MAX: Final = 32 * 1024
"""JSON text of the elements that are paired by likeness, both sides together; more are paired in canonical order."""
EXPLAIN_BYTES_MAX: Final = 64 * 1024
"""JSON text of a side that is explained in full; of a larger one only the place itself is."""
EXPLAIN_CHARS_MAX: Final = 4_000
"""Length of an explanation."""

# Evidence
HYPOTHESES_MAX: Final = 4096
"""Hypotheses with a state of their own; further ones are pooled and counted."""
KEYS_PER_HYPOTHESIS_MAX: Final = 4096
"""Once-per-key memory of a hypothesis."""
CONFIRMATIONS_MAX: Final = 256
"""Confirmation questions with a state of their own."""
LATENCY_SAMPLES_MAX: Final = 4096
"""Latency pairs kept for each endpoint (uniform reservoir)."""
SEQUENCER_WINDOW_MAX: Final = 4096
"""Results that may wait for an earlier one."""
EXEMPLARS_PER_FINDING_MAX: Final = 3
"""Trials kept as examples of a finding."""
KEYS_MAX: Final = 262_144
"""Once-per-key memory of all hypotheses together; at the bound a hypothesis forgets its own oldest key."""
QUESTIONS_MAX: Final = 8192
"""Requests about which it is asked at once whether their difference comes back."""
REQUESTS_PER_HYPOTHESIS_MAX: Final = 256
"""Distinct requests remembered as showing a hypothesis' difference; beyond it all count as showing it."""
NOISE_HYPOTHESES_MAX: Final = 2048
"""Hypotheses on values that are new in every answer, with a state of their own; further ones are counted."""
NOISE_PLACES_PER_TRIAL_MAX: Final = 6
"""Differing places of one trial at which the relation of the values is looked at; of more, other ones in other trials."""
NOISE_KEYS_PER_PLACE_MAX: Final = 256
"""Once-per-key memory of a place with such values; these seldom come again."""
NOISE_KEYS_MAX: Final = 65_536
"""The same of all such places together."""
NOISE_CATEGORIES_MAX: Final = 16
"""Values of stable at one place that count as a small set of categories; with more it is none."""
EVIDENCE_SESSIONS_MAX: Final = 4096
"""Sessions whose first finding is remembered as the root of what follows from it."""
ATTRIBUTES_PER_TRIAL_MAX: Final = 32
"""Attributes read of one trial, to find out whom a difference is confined to."""
ATTRIBUTE_NAME_CHARS_MAX: Final = 64
"""Characters of an attribute's name; a longer one is left out."""
ATTRIBUTE_VALUE_CHARS_MAX: Final = 80
"""Characters of an attribute's value; of a longer one only its presence is known."""
ATTRIBUTE_BODY_BYTES_MAX: Final = 64 * 1024
"""Length of a JSON or form body that is looked at for attributes."""
ATTRIBUTE_DEPTH_MAX: Final = 3
"""Objects within objects of a JSON body that are looked at for attributes."""
ATTRIBUTES_CACHED_MAX: Final = 4096
"""Attributes remembered with what they were read from, in each comparing process."""
ATTRIBUTES_READ_FIRST: Final = 8192
"""Live trials of each ingress worker of which all have their attributes read, before only a sample has."""
ATTRIBUTES_SAMPLED_EVERY: Final = 251
"""Of live trials that show no difference of the candidate, one in so many has its attributes read; a prime, to meet no rhythm."""
SLICE_NAMES_MAX: Final = 64
"""Attribute names counted for one endpoint."""
SLICE_VALUES_MAX: Final = 32
"""Values counted of one attribute at one endpoint; further ones count as neither."""
SLICE_CELLS_MAX: Final = 131_072
"""Counters that all endpoints and findings have together for attributes."""
SLICE_FINDINGS_MAX: Final = 200
"""Findings that an explanation is looked for at one look, gravest first."""
ROOTS_PER_ENDPOINT_MAX: Final = 64
"""Groups of findings with the same requests that are told apart at one endpoint."""
LATENCY_BLOCK_PAIRS_MAX: Final = 512
"""Latency pairs kept of an open block, for its median; further ones count in its sign only."""
PASSES_MAX: Final = 20
"""Passes of a capture with `--passes auto`."""

# Store
STORED_TRIALS_MAX: Final = 20_000
"""Diverged trials kept on disk in a run."""
STORED_PER_DIFFERENCE_MAX: Final = 50
"""Trials kept for one difference of an endpoint; further ones are kept for another difference in them, or as exemplars."""
STORED_DIFFERENCES_MAX: Final = 16_384
"""Differences that are counted for that; further ones are kept up to the store's own bounds."""
STORED_BYTES_MAX: Final = 512 * 1024 * 1024
"""What a run keeps on disk of bodies."""

# Replay
CAPTURE_ENTRIES_MAX: Final = 1_000_000
"""Entries of one capture."""
CAPTURE_RECORD_BYTES_MAX: Final = 80 * 1024 * 1024
"""One record of a capture; a longer one is a broken entry."""
CAPTURE_BYTES_MAX: Final = 1024 * 1024 * 1024
"""All capture files of a run together, after decompression."""
CAPTURE_PAIRING_MAX: Final = 4096
"""Requests of a capture file that may wait for their answer while it is read; then the oldest goes on without."""
SESSION_VALUES_PER_MESSAGE_MAX: Final = 512
"""Identifier-like values looked at in one message when sessions are grouped."""
STOP_GRACE_SECONDS_MAX: Final = 10.0
"""How long an interrupted replay waits for the trials under way."""
SESSION_IDENTIFIERS_MAX: Final = 2048
"""Identifier mappings kept for one session and arm."""
IDENTIFIER_CHARS_MAX: Final = 4096
"""Length of a text that may be an identifier."""
VARIANTS_MAX: Final = 1000
"""Variations made of one request."""
REPLAY_CONCURRENCY_MAX: Final = 256
"""Sessions replayed at once."""

# Targets
TARGET_OUTPUT_LINES_MAX: Final = 200
"""Last output lines kept of a started target."""

# Configuration
CONFIG_BYTES_MAX: Final = 4 * 1024 * 1024
"""A larger configuration or policy file is refused unread."""
CONFIG_NODES_MAX: Final = 100_000
"""Values of one configuration file, aliases unfolded."""
CONFIG_DEPTH_MAX: Final = 32
"""Nesting of a configuration file."""
CONFIG_PROBLEMS_SHOWN_MAX: Final = 50
"""Problems listed at once; further ones are counted."""
LABELS_MAX: Final = 64
"""Labels of a candidate, and those that one condition of a policy asks about."""
LABEL_CHARS_MAX: Final = 256
"""Characters of a label's value, or of a pattern for one."""
GIT_FILE_BYTES_MAX: Final = 4 * 1024 * 1024
"""A policy or list of accepted changes that is read at a ref of a repository."""
GIT_TIMEOUT_S: Final = 60.0
"""How long one look into a repository may take."""
READY_TIMEOUT_S_MAX: Final = 3600
"""Longest wait for a target to become ready."""
TIMEOUT_S_MAX: Final = 3600
"""Longest bound on one exchange."""

# Reports
REPORT_BODY_CHARS_MAX: Final = 12_000
"""Characters kept of a body in an exemplar; the part around the first difference is kept."""
REPORT_BODY_LINES_MAX: Final = 300
"""Lines kept of a body in an exemplar."""
REPORT_LINE_CHARS_MAX: Final = 600
"""Characters kept of one line in an exemplar."""
REPORT_TEXT_CHARS_MAX: Final = 400
"""Characters shown of any one name, value or message from traffic."""
REPORT_HEADERS_MAX: Final = 100
"""Headers shown of one message."""
REPORT_NOISE_MAX: Final = 500
"""Noise entries listed in a report; the rest is counted."""
EXPECTED_ELEMENTS_MAX: Final = 256
"""Elements of arrays that differ in one answer at an accepted place and are looked at. With more of them the answer is not as accepted."""
EXPECTED_ENTRIES_MAX: Final = 1000
"""Accepted changes in one file."""
EXPECTED_CHARS_MAX: Final = 2000
"""Of one text in such a file."""
SEEN_VALUES_MAX: Final = 8
"""Pairs of values that are remembered of a finding; with more, only how they relate is."""
SEEN_FORMS_MAX: Final = 16
"""Forms of values that are remembered of a finding."""
SEEN_FINDINGS_MAX: Final = 4096
"""Findings of which a run remembers what was seen."""
REPORT_FINDINGS_MAX: Final = 1000
"""Findings listed in a report, gravest first; the rest is counted."""
REPORT_TABLE_ROWS_MAX: Final = 40
"""Rows of one table in the terminal and the summary; report.json has all."""
REPORT_EXEMPLARS_MAX: Final = 200
"""Exemplars in a report; the gravest findings have theirs first, each one before any has a second."""
REPORT_EFFECTS_MAX: Final = 40
"""Effects side by side in one exemplar; what differs and the finding's own operation first, the rest is counted."""
REPORT_EFFECTS_CHARS_MAX: Final = 24_000
"""Characters kept of the documents of all effects in one exemplar."""
REPORT_EFFECT_CHARS_MAX: Final = 4_000
"""Characters kept of the document of one effect, or of a stored row."""
REPORT_EFFECT_LINES_MAX: Final = 120
"""Lines kept of the document of one effect."""
REPORT_EFFECT_ROWS_MAX: Final = 200
"""Operations that belong to no request, tables that differ, and lapses of a collector, listed in a report; the rest is counted."""
COMMAND_BODY_BYTES_MAX: Final = 16 * 1024
"""Request body written into a reproducing command; a larger one is read from a file that the user names."""
COMMAND_CHARS_MAX: Final = 64 * 1024
"""Length of a reproducing command; earlier steps are left out until it fits."""
COMMAND_STEPS_MAX: Final = 50
"""Earlier steps of a session written into a reproducing command; the last ones are kept."""

# Metrics and admin
METRIC_SERIES_MAX: Final = 4096
"""Label combinations of one metric; further ones count under the endpoint `other`."""
BUILD_LABEL_CHARS_MAX: Final = 128
"""Characters of a build's label, as answers or callers of the admin port give it."""
HISTORY_ENTRIES_MAX: Final = 100
"""Epochs in an answer of the admin port."""
HISTORY_LINES_MAX: Final = 10_000
"""Lines of history.jsonl, at least; at twice as many the older half goes."""
EPOCH_SECONDS_MIN: Final = 10
"""The shortest period of epochs."""
EPOCHS_KEPT_MAX: Final = 100
"""Epochs after the first whose folders are kept; the oldest go first, their verdicts stay in the history."""
STORE_FLUSH_SECONDS: Final = 1.0
"""How often a live run hands what it stores to the system: so much evidence at most is lost with a process that is killed."""
CHECKPOINT_SECONDS: Final = 5.0
"""How often it has the disk take that, and writes down where it stands: so much at most is lost with the machine."""
RECALLED_AT_ONCE_MAX: Final = 500
"""Stored trials of a run that goes on folded again in one step."""
VERDICT_STALE_SECONDS_MAX: Final = 60
"""Age of the ledger's last word beyond which the verdict endpoint answers inconclusive."""
STORE_BUFFER_BYTES_MAX: Final = 64 * 1024
"""What waits in memory for one file of the run directory."""
STORE_FRAME_BYTES_MAX: Final = 160 * 1024 * 1024
"""One record of the run directory; a larger one is damage when read and not kept when written."""
TARGET_OUTPUT_LINE_CHARS_MAX: Final = 2000
"""A longer output line of a started target is cut."""
TARGET_START_ATTEMPTS_MAX: Final = 3
"""Ports tried for a started target when another program takes the port first."""

# Recording
RECORD_QUEUE_MAX: Final = 2048
"""Live exchanges waiting to be written to a capture; further ones are lost to it and counted."""

# Effects
EFFECTS_PER_ARM_MAX: Final = 512
"""Effects kept of one arm of a trial; further ones are counted."""
EFFECT_DOCUMENT_BYTES_MAX: Final = 256 * 1024
"""What is kept of one effect's document; a larger value in it is cut and digested."""
EFFECT_LIKENESS_BYTES_MAX: Final = 16 * 1024 * 1024
"""JSON text looked at to pair effects of one operation by likeness (each document once for each it may belong to); where it would
be more, they are paired in canonical order."""
EFFECTS_UNDRAINED_MAX: Final = 50_000
"""Effects that a collector holds until it is drained; further ones are a lapse."""
EFFECTS_UNDRAINED_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bytes of the documents of these."""
EFFECT_OPERATIONS_MAX: Final = 2_000
"""Operations of effects that are told apart in a run; further ones are called `other`."""
MADE_ROWS_COMPARED_MAX: Final = 64
"""Rows that one target made in a trial, not quite like any other's, that are paired by likeness; more are paired by their order."""
GENERATED_KEYS_MAX: Final = 100_000
"""Keys made by a store that are known by name, of all targets together; the oldest go first, and stand by their number again."""
EFFECT_WAIT_SECONDS_MAX: Final = 60
"""Longest wait for a trial's effects that a configuration may ask for."""
BUS_UNSENT_BYTES_MAX: Final = 32 * 1024 * 1024
"""What may wait for a compare worker that does not read; effects are not told to it beyond that."""
EFFECT_TRIALS_CLOSED_MAX: Final = 10_000
"""Judged trials that are remembered, to tell a late effect from one that was never anybody's."""
EFFECTS_KEPT_MAX: Final = 20_000
"""Effects of live trials that wait for their trial in a compare worker; the oldest go first."""
EFFECT_TABLE_ROWS_SHOWN_MAX: Final = 20
"""Rows of a table that the comparison of final states looks at one by one."""
TAPE_BYTES_MAX: Final = 512 * 1024 * 1024
"""A tape file; what comes beyond is left out of a tape that is recorded and counted, and a larger file is not read."""
TAPE_CALLS_MAX: Final = 200_000
"""Calls of a tape file, likewise."""
TAPE_ALIKE_MAX: Final = 256
"""Unused calls to an endpoint among which the likest one is looked for; further ones wait until these are used."""
TAPE_LEAVES_MAX: Final = 512
"""Values of a call that its likeness to another is counted by."""
TAPE_MASKS_MAX: Final = 64
"""Sets of redacted places of an endpoint's taped calls that a call is tried against; calls with another set are matched by endpoint."""
SPAN_EXPORT_BYTES_MAX: Final = 16 * 1024 * 1024
"""One OTLP export, as sent and decompressed; a larger one is refused with 413."""
SPAN_EXPORTS_BYTES_MAX: Final = 64 * 1024 * 1024
"""OTLP exports being received and taken apart at once, as sent or decompressed; further ones are asked to come again (503)."""
SPAN_EXPORT_SHARED_BYTES_MAX: Final = 1024 * 1024
"""OTLP exports up to this size are taken apart side by side; larger ones, which are many times that when decoded, one by one."""
SPAN_CONNECTIONS_MAX: Final = 512
"""gRPC connections of all targets at once that exports are taken from; further ones are cut."""
SPAN_EXPORT_SECONDS_MAX: Final = 30.0
"""How long the sender of an OTLP export may take."""
SPAN_STATEMENT_CHARS_MAX: Final = 32 * 1024
"""What is looked at of the query text, or another attribute, of a span."""
SPAN_NAME_CHARS_MAX: Final = 256
"""The same of its name."""
SPAN_TRIALS_ENDED_MAX: Final = 4096
"""Judged trials whose spans are still told from others', so that late ones are known for what they are."""
SPAN_TRIALS_SILENT_MAX: Final = 5
"""Trials in which a target's spans are waited for in vain before it is taken for one that sends none."""

# Stored runs and audit
STORE_RUNS_MAX: Final = 1_000_000
"""Of store.keep_runs."""
STORE_DISK_BYTES_MIN: Final = 1_000_000
"""The least that store.max_disk may be, in bytes."""
STORE_DISK_BYTES_MAX: Final = 1_000_000_000_000_000
"""Of store.max_disk, in bytes."""
STORE_AGE_S_MAX: Final = 3_660 * 86_400
"""Of store.max_age, in seconds: ten years."""
RUNS_NAMED_MAX: Final = 5
"""Runs that were removed, named; the rest is counted."""
AUDIT_LINE_BYTES_MAX: Final = 256 * 1024
"""One line of the audit file."""
AUDIT_LABELS_MAX: Final = 64
"""Labels of a candidate in a line of the audit file."""
AUDIT_LABEL_CHARS_MAX: Final = 200
"""Characters of a label's name or value, or of a build's label, in a line of the audit file."""
AUDIT_LOCK_SECONDS_MAX: Final = 10.0
"""How long a verdict waits for others who write to the audit file."""
AUDIT_PROBLEMS_SHOWN_MAX: Final = 20
"""Problems of an audit file that are told one by one."""
REPEATED_REQUESTS_MAX: Final = 20_000
"""Requests of a pass whose answers are kept, to be compared with what the same arms say in the next one."""
REPEATED_BYTES_MAX: Final = 64 * 1024 * 1024
"""What those answers may hold."""
ALONE_PASSES_MAX: Final = 3
"""Passes of a run that send one request at a time, to tell what happens only under load."""
ALONE_PASS_SECONDS_MAX: Final = 60.0
"""How long such a pass may take, by what the requests of an earlier pass took together, at most."""
RESTLESS_PLACES_MAX: Final = 2_000
"""Places at which an arm disagreed with itself that are watched one by one; beyond it only all together."""
