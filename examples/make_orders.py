"""Write examples/orders.jsonl: order memos of an invented wholesaler, each with one line of JSON.

A memo is Japanese or English, as a clerk would jot it down. The answer holds what the order
system wants: a fixed format, the company's own categories, and which kinds of personal data the
memo contains. Names, addresses and numbers are made up; the domain is example.com and the telephone
numbers are from ranges that are not assigned.

Usage: python examples/make_orders.py [ROWS] [SEED] > orders.jsonl
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from typing import NamedTuple

ROWS = 600
SEED = 20230713


class Item(NamedTuple):
    """An article of the catalogue, with the words people use for it."""

    key: str
    category: str
    japanese: tuple[str, ...]
    english: tuple[str, ...]


ITEMS = (
    Item("tea", "DRINK", ("お茶", "緑茶"), ("green tea", "tea")),
    Item("coffee", "DRINK", ("コーヒー", "珈琲"), ("coffee", "coffee beans")),
    Item("water", "DRINK", ("水", "天然水"), ("water", "spring water")),
    Item("juice", "DRINK", ("ジュース",), ("juice", "orange juice")),
    Item("rice", "FOOD", ("米", "白米"), ("rice", "white rice")),
    Item("noodles", "FOOD", ("うどん", "麺"), ("noodles", "udon")),
    Item("sugar", "FOOD", ("砂糖",), ("sugar",)),
    Item("cookies", "FOOD", ("クッキー", "焼き菓子"), ("cookies", "biscuits")),
    Item("copy-paper", "OFFICE", ("コピー用紙", "A4用紙"), ("copy paper", "A4 paper")),
    Item("envelope", "OFFICE", ("封筒",), ("envelopes",)),
    Item("pen", "OFFICE", ("ボールペン", "ペン"), ("pens", "ballpoint pens")),
    Item("notebook", "OFFICE", ("ノート",), ("notebooks", "notepads")),
    Item("soap", "CLEAN", ("石けん", "ハンドソープ"), ("soap", "hand soap")),
    Item("detergent", "CLEAN", ("洗剤",), ("detergent", "washing powder")),
    Item("tissue", "CLEAN", ("ティッシュ",), ("tissues", "tissue paper")),
    Item("garbage-bag", "CLEAN", ("ゴミ袋",), ("garbage bags", "bin liners")),
    Item("cup", "TABLE", ("紙コップ", "コップ"), ("paper cups", "cups")),
    Item("plate", "TABLE", ("皿", "紙皿"), ("plates", "paper plates")),
    Item("chopsticks", "TABLE", ("割り箸", "箸"), ("chopsticks",)),
    Item("napkin", "TABLE", ("ナプキン",), ("napkins", "serviettes")),
)
UNITS = {
    "bag": ("袋", "bags"),
    "box": ("箱", "boxes"),
    "case": ("ケース", "cases"),
    "pack": ("パック", "packs"),
    "piece": ("個", "pieces"),
}
DUE = {
    "today": ("本日", "today"),
    "tomorrow": ("明日", "tomorrow"),
    "mon": ("月曜", "Monday"),
    "tue": ("火曜", "Tuesday"),
    "wed": ("水曜", "Wednesday"),
    "thu": ("木曜", "Thursday"),
    "fri": ("金曜", "Friday"),
    "month-end": ("月末", "the end of the month"),
}
NAMES = (
    ("佐藤", "Sato"),
    ("鈴木", "Suzuki"),
    ("高橋", "Takahashi"),
    ("田中", "Tanaka"),
    ("伊藤", "Ito"),
    ("渡辺", "Watanabe"),
    ("山本", "Yamamoto"),
    ("中村", "Nakamura"),
    ("小林", "Kobayashi"),
    ("加藤", "Kato"),
)
MAILBOXES = ("order", "sato", "king", "shop", "office", "tanaka", "info", "mika", "ken", "yuki")
JAPANESE = (
    "{customer}番 {item}{quantity}{unit} {due}まで。{contact}",
    "{customer}番です。{item}を{quantity}{unit}、{due}までにお願いします。{contact}",
    "顧客{customer}、{due}納品で{item}{quantity}{unit}。{contact}",
    "{item}を{quantity}{unit}注文。納期は{due}、顧客番号{customer}。{contact}",
    "お世話になります、{customer}番です。{due}までに{item}{quantity}{unit}をお願いします。{contact}",
)
ENGLISH = (
    "Customer {customer}: {quantity} {unit} of {item} by {due}. {contact}",
    "{quantity} {unit} {item} for customer {customer}, due {due}. {contact}",
    "Please send {quantity} {unit} of {item} to customer {customer} by {due}. {contact}",
    "No. {customer} needs {item}, {quantity} {unit}, {due}. {contact}",
    "Order from {customer}: {item} x {quantity} {unit}, deliver {due}. {contact}",
)


def personal_data(kind: str, japanese: bool, pick: random.Random) -> str:
    """Return a phrase of the memo that holds one kind of personal data."""
    if kind == "NAME":
        name = pick.choice(NAMES)[0 if japanese else 1]
        return f"担当{name}さん" if japanese else f"Ask for {name}"
    if kind == "EMAIL":
        address = f"{pick.choice(MAILBOXES)}{pick.randrange(100)}@example.com"
        return f"メール{address}" if japanese else f"mail {address}"
    number = f"{'090-0000' if japanese else '555-01'}{pick.randrange(100):02d}"
    return f"電話{number}" if japanese else f"call {number}"


def order(pick: random.Random) -> dict[str, str]:
    """Return one row: a memo as `input_text`, the order as JSON in `output_text`."""
    japanese = pick.random() < 0.5
    language = 0 if japanese else 1
    item = pick.choice(ITEMS)
    unit, due = pick.choice(list(UNITS)), pick.choice(list(DUE))
    customer, quantity = str(pick.randrange(100, 1000)), pick.randrange(1, 100)
    kinds = [kind for kind in ("NAME", "EMAIL", "PHONE") if pick.random() < 0.35]
    phrases = [personal_data(kind, japanese, pick) for kind in kinds]
    memo = pick.choice((JAPANESE, ENGLISH)[language]).format(
        customer=customer,
        item=pick.choice((item.japanese, item.english)[language]),
        quantity=quantity,
        unit=UNITS[unit][language],
        due=DUE[due][language],
        contact=("、" if japanese else ", ").join(phrases),
    )
    answer = {
        "customer": customer,
        "category": item.category,
        "item": item.key,
        "quantity": quantity,
        "unit": unit,
        "due": due,
        "personal_data": kinds,
    }
    compact = json.dumps(answer, separators=(",", ":"))
    return {"input_text": memo.strip(), "output_text": compact}


def orders(rows: int = ROWS, seed: int = SEED) -> Iterator[str]:
    """Yield JSON lines, no memo twice; the same rows and seed give the same bytes."""
    pick = random.Random(seed)  # noqa: S311 - sample data, not a secret
    seen: set[str] = set()
    while len(seen) < rows:
        row = order(pick)
        if row["input_text"] not in seen:
            seen.add(row["input_text"])
            yield json.dumps(row, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # type: ignore[union-attr]
    sys.stdout.writelines(orders(*map(int, sys.argv[1:])))
