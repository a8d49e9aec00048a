from __future__ import annotations

import pytest

from orchestrator.host import index_router
from orchestrator.host.index_config import PUBLIC_INDEX
from orchestrator.host.index_router import IndexRoutes, original
from orchestrator.host.network import NO_INDEX, HostNetwork

NAMED = (("torch", "https://own/cu130"), ("nvidia-*", "https://own/nv"), ("corp_*", "https://corp"))


@pytest.mark.parametrize(
    ("env", "others"),
    [
        ({}, (PUBLIC_INDEX,)),
        ({"UV_DEFAULT_INDEX": "https://a"}, ("https://a",)),
        ({"UV_INDEX_URL": "https://a"}, ("https://a",)),
        (
            {"UV_INDEX": "https://b name=https://c?x=y"},
            ("https://b", "https://c?x=y", PUBLIC_INDEX),
        ),
        ({"UV_EXTRA_INDEX_URL": "file:///srv"}, ("file:///srv", PUBLIC_INDEX)),
        ({"UV_DEFAULT_INDEX": NO_INDEX, "UV_INDEX": ""}, ()),
    ],
)
def test_the_other_indexes_are_those_of_the_host(
    env: dict[str, str], others: tuple[str, ...]
) -> None:
    assert IndexRoutes.of((), env).others == others


@pytest.mark.parametrize(
    ("project", "index"),
    [
        ("torch", "https://own/cu130"),
        ("Torch", "https://own/cu130"),
        ("torchvision", None),
        ("nvidia_cublas", "https://own/nv"),
        ("nvidia", None),
        ("corp.secret", "https://corp"),
        ("numpy", None),
    ],
)
def test_what_is_assigned_comes_from_its_index_and_nothing_else_does(
    project: str, index: str | None
) -> None:
    routes = IndexRoutes.of(NAMED, {"UV_INDEX": "https://more"})
    assert routes.index_of(project) == index
    allowed = [url for url in routes.urls if routes.allows(url, project)]
    assert allowed == ([index] if index else ["https://more", PUBLIC_INDEX])


def test_an_address_of_the_router_is_shown_as_the_one_it_stands_for() -> None:
    routes = IndexRoutes.of(NAMED, {"UV_FIND_LINKS": "/wheels,https://links"})
    assert original("http://127.0.0.1:99/0", routes) == "https://own/cu130"
    assert original("http://127.0.0.1:99/links/1", routes) == "https://links"
    assert original("https://elsewhere/0/x", routes) == "https://elsewhere/0/x"


@pytest.mark.parametrize("path", ["/0/torch", "/x/0/torch", "//0/torch", "/%00/0/torch", "/", ""])
def test_only_who_was_given_the_address_is_answered(path: str) -> None:
    """Any user of this host can ask the router, and a redirect names a user and a password."""
    routes = IndexRoutes.of((("torch", "https://user:password@own/cu130"),), {})
    router = index_router._Router(routes, HostNetwork(), "secret")
    assert router.answer(path) == (404, "", "")
    there = (302, "https://user:password@own/cu130/torch/", "")
    assert router.answer("/secret/0/torch") == there
    assert router.answer("/secret/0/numpy") == (404, "", "")


def test_an_address_with_a_secret_is_shown_as_the_one_it_stands_for() -> None:
    routes = IndexRoutes.of(NAMED, {"UV_FIND_LINKS": "/wheels"})
    given = "http://127.0.0.1:99/a-secret"
    assert original(f"{given}/1", routes) == "https://own/nv"
    assert original(f"{given}/links/0", routes) == "/wheels"
