"""What the demo's order service sells, and to whom: products, currencies, tenants, regions. The same in every process."""

from decimal import Decimal
from random import Random
from typing import Final

import msgspec


class Currency(msgspec.Struct, frozen=True):
    """A currency: units for one euro, and how many decimals an amount has."""

    code: str
    rate: Decimal
    decimals: int


class Product(msgspec.Struct, frozen=True):
    """Something to buy. `price` is in euro, without tax."""

    sku: int
    name: str
    category: str
    price: Decimal
    weight_kg: float
    tags: tuple[str, ...]


class Agreement(msgspec.Struct, frozen=True):
    """A discount that one tenant has negotiated for one category, from a number of pieces on."""

    code: str
    category: str
    percent: int
    pieces_min: int


class Region(msgspec.Struct, frozen=True):
    """Where parcels go: days on the way, price in euro for the parcel and for each kilogram."""

    name: str
    days: int
    base: Decimal
    per_kg: Decimal
    warehouse: str
    customs_days: int = 0


CURRENCIES: Final = {
    currency.code: currency
    for currency in (
        Currency("EUR", Decimal(1), 2),
        Currency("USD", Decimal("1.0837"), 2),
        Currency("GBP", Decimal("0.8542"), 2),
        Currency("CHF", Decimal("0.9613"), 2),
        Currency("PLN", Decimal("4.3129"), 2),
        Currency("JPY", Decimal("163.417"), 0),
    )
}
TENANTS: Final[dict[str, Agreement | None]] = {
    "harbor": Agreement("HB-2031", "coffee", 8, 5),
    "meadow": None,
    "summit": Agreement("SM-0417", "tea", 12, 6),
}
REGIONS: Final = {
    region.name: region
    for region in (
        Region("eu-north", 2, Decimal("4.90"), Decimal("0.80"), "Malmö"),
        Region("eu-west", 1, Decimal("3.90"), Decimal("0.60"), "Gent"),
        Region("us-east", 5, Decimal("9.50"), Decimal("2.10"), "Newark", customs_days=1),
        Region("ap-south", 7, Decimal("12.40"), Decimal("3.30"), "Chennai", customs_days=2),
    )
}
CATEGORIES: Final = ("cocoa", "coffee", "gear", "tea")
PRODUCTS_PER_CATEGORY: Final = 12
FIRST_SKU: Final = 40_000
TAGS_PER_PRODUCT: Final = (9, 11)
"""Many enough that two answers hardly ever list them in the same order by chance."""

# Few price points, as in real shops: many products cost the same, so a list sorted by price has ties.
_PRICES: Final = (Decimal("4.90"), Decimal("7.35"), Decimal("12.45"), Decimal("18.95"))
_FIRST_NAMES: Final = ("Amber", "Boreal", "Cedar", "Dune", "Ember", "Fjord", "Grove", "Haze", "Isle", "Juniper", "Kestrel", "Larch")
_TAGS: Final = (
    "award",
    "bestseller",
    "bulk",
    "compostable",
    "direct-trade",
    "fair-trade",
    "family-farm",
    "gift",
    "limited",
    "local",
    "new",
    "organic",
    "sample",
    "seasonal",
    "single-origin",
    "vegan",
)


def products() -> dict[int, Product]:
    """All products by number, in ascending order; the same for ever."""
    chance = Random("catalogue")
    found: dict[int, Product] = {}
    for category in CATEGORIES:
        for name in _FIRST_NAMES:
            sku = FIRST_SKU + 7 * len(found)
            tags = tuple(sorted(chance.sample(_TAGS, chance.randint(*TAGS_PER_PRODUCT))))
            weight_kg = chance.randrange(100, 3000) / 1000
            found[sku] = Product(sku, f"{name} {category}", category, chance.choice(_PRICES), weight_kg, tags)
    return found


def stock_of(product: Product, region: Region) -> int:
    """Pieces in the region's warehouse. It comes from a nightly feed, so orders do not change it."""
    return Random(f"{product.sku} {region.warehouse}").randrange(12, 400)
