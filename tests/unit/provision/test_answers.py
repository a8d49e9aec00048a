"""What a build needs is looked for once, whether or not it can be had."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pytest

from orchestrator.errors import EnvironmentProblemError
from orchestrator.provision.answers import Answers, once


@dataclass(kw_only=True, eq=False)
class Shop(Answers):
    """A shop that has everything but glue."""

    asked: list[str] = field(default_factory=list)

    @once
    def buy(self, thing: str) -> str:
        self.asked.append(thing)
        if thing == "glue":
            raise EnvironmentProblemError.of("no glue")
        return thing.upper()

    @property
    @once
    def name(self) -> str:
        self.asked.append("name")
        return self.buy("sign")


def test_each_question_is_asked_once() -> None:
    shop = Shop()

    assert [shop.buy("wood"), shop.buy("nails"), shop.buy("wood")] == ["WOOD", "NAILS", "WOOD"]
    assert (shop.name, shop.name) == ("SIGN", "SIGN"), "one may ask another"
    assert shop.asked == ["wood", "nails", "name", "sign"]
    assert Shop().asked == [], "each object has answers of its own"


def test_what_cannot_be_had_is_asked_for_once_until_it_is_forgotten() -> None:
    shop = Shop()
    for _ in range(2):
        with pytest.raises(EnvironmentProblemError, match="no glue"):
            shop.buy("glue")
    shop.buy("wood")
    assert shop.asked == ["glue", "wood"]
    assert (shop.answered("buy", "glue"), shop.answered("buy", "wood")) == (None, "WOOD")
    assert shop.answered("buy", "paint") is None, "to look at the answers asks nothing"

    shop.forget_errors()
    with pytest.raises(EnvironmentProblemError):
        shop.buy("glue")
    shop.buy("wood")
    assert shop.asked == ["glue", "wood", "glue"]


def test_of_many_threads_one_asks_and_the_others_wait() -> None:
    shop, answers = Shop(), []
    start = threading.Barrier(8)

    def ask() -> None:
        start.wait()
        answers.append(shop.buy("wood"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == ["WOOD"] * 8
    assert shop.asked == ["wood"]
