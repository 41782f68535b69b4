"""Amounts of money: conversion, rounding, discounts. Pure."""

from decimal import ROUND_HALF_UP, Decimal
from typing import Final

import msgspec

from scenarios.demo.catalogue import Agreement, Currency, Product

QUANTITY_MAX: Final = 999
_VOLUME_STEPS: Final = ((50, 10), (10, 5))
"""From so many pieces on, so many per cent off."""


class Line(msgspec.Struct, frozen=True):
    """One line of an order."""

    product: Product
    quantity: int


class Discount(msgspec.Struct, frozen=True):
    """What is taken off, and why."""

    percent: int
    reason: str | None


def rounded(amount: Decimal, decimals: int) -> Decimal:
    """Half up, as invoices are."""
    return amount.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)


def price_in(product: Product, currency: Currency) -> Decimal:
    """One piece, rounded to what the currency has."""
    return rounded(product.price * currency.rate, currency.decimals)


def number(amount: Decimal, currency: Currency) -> int | float:
    """As written in JSON: whole where the currency has no smaller unit."""
    return float(amount) if currency.decimals else int(amount)


def volume_percent(quantity: int) -> int:
    """Per cent off for many pieces of one product."""
    return next((percent for pieces, percent in _VOLUME_STEPS if quantity >= pieces), 0)


def less(amount: Decimal, percent: int) -> Decimal:
    """The amount with so many per cent taken off, not rounded."""
    return amount * (100 - percent) / 100


def agreement_pieces(lines: tuple[Line, ...], agreement: Agreement | None) -> int:
    """Pieces that the tenant's agreement covers, 0 where they are too few."""
    if agreement is None:
        return 0
    pieces = sum(line.quantity for line in lines if line.product.category == agreement.category)
    return pieces if pieces >= agreement.pieces_min else 0
