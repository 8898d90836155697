"""The pages in a browser: what they show of a model's answers."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.runtime.server.serving import WAIT_SEC, Running, serve

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
Page = Callable[[str], str]


@pytest.fixture
def page(tmp_path: Path) -> Page:
    """Open a URL, and give the document as it is once the page has done its work."""

    def give(url: str) -> str:
        assert CHROMIUM
        done = subprocess.run(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage",
             "--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}",
             "--virtual-time-budget=60000", "--dump-dom", url],
            capture_output=True, text=True, timeout=WAIT_SEC,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return give


def visible(document: str, name: str) -> str:
    """Give the text of an element by its id."""
    start = re.search(rf'<\w+[^>]* id="{name}"[^>]*>', document)
    assert start, name
    inner = re.split(r"</p>|</section>", document[start.end() :])[0]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", inner))


@needs_browser
def test_a_prediction_with_its_words(head: Callable[[str], Running], page: Page) -> None:
    document = page(f"{head('single').url}/#text={quote('good bad <b>good</b> good')}&explain")
    assert "ms round trip" in visible(document, "time")
    assert "positive 98.2 % negative 1.8 %" in visible(document, "bars")
    assert (
        document.count("<mark") == 4
        and document.count('<mark class="against"') == 1
        and "&lt;b&gt;good&lt;/b&gt;" in document
    )
    assert "bad −" in visible(document, "legend") and "good +" in visible(document, "legend")
    assert visible(document, "error").strip() == ""


@needs_browser
@pytest.mark.parametrize(
    ("name", "link", "shown"),
    [("multi", "text=good", "positive 73.1 % negative 26.9 %"), ("regression", "text=good%20good", "3.00000"),
     ("pair", "text=good&pair=good", "positive 98.2 % negative 1.8 %")],
)  # fmt: skip
def test_other_heads(head: Callable[[str], Running], page: Page, name: str, link: str, shown: str) -> None:
    document = page(f"{head(name).url}/#{link}")
    assert shown in visible(document, "bars")
    assert ('id="second" hidden' in document) == (name != "pair")


@needs_browser
def test_what_goes_wrong_is_said(heads: dict[str, Path], page: Page) -> None:
    with serve(heads["single"], token="secret") as server:
        document = page(f"{server.url}/#text=good")
        assert "Authorization: Bearer TOKEN" in visible(document, "error")
        assert 'id="secret"' in document and 'id="secret" hidden' not in document


@needs_browser
def test_the_interfaces(head: Callable[[str], Running], page: Page) -> None:
    document = page(f"{head('single').url}/docs")
    assert document.count("<details>") == 21
    assert "/v2/models/{name}/infer" in document and "$ref" not in document.split("<script>")[0]


class Outline(HTMLParser):
    """Notes what a screen reader needs."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: set[str] = set()
        self.labels: set[str] = set()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.language = None

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.tags.append(tag)
        if tag == "html":
            self.language = given.get("lang")
        if tag in ("input", "select", "textarea"):
            self.fields.add(given["id"] or "")
        if tag == "label":
            self.labels.add(given["for"] or "")
        self.links += [value for name, value in attributes if name in ("src", "href") and value]


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_are_whole_labelled_and_load_nothing_from_elsewhere(head: Callable[[str], Running], path: str) -> None:
    with head("single").client() as client:
        response = client.get(path, headers={"accept": "text/html,*/*;q=0.8"})
    outline = Outline()
    outline.feed(response.text)
    assert outline.language == "en" and "main" in outline.tags and outline.tags.count("h1") == 1
    assert outline.fields <= outline.labels
    assert not [link for link in outline.links if ":" in link or link.startswith("/")]
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"
