"""Pages are one file each, which runs its own scripts and may load nothing."""

from __future__ import annotations

import base64
import hashlib
import re

from gancomp.pages import asset, data_block, page


def test_a_page_holds_its_styles_and_scripts_and_lets_only_those_run() -> None:
    script = "document.title = 'a < b';"
    text = page("a < b", "<p>x</p>", styles=[asset("theme.css")], scripts=[script])
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src &#x27;sha256-{digest}&#x27;; " in text
    assert "default-src &#x27;none&#x27;" in text
    assert "<title>a &lt; b</title>" in text
    assert "--accent" in text
    assert not re.findall(r'(?:src|href)="(?!data:)', text)


def test_what_html_would_take_for_the_end_of_a_script_does_not_end_it() -> None:
    text = page("t", data_block("settings", '{"a": "</script>"}'), scripts=["f('</SCRIPT><!--');"])
    assert text.count("</script>") == 2
    assert "f('\\x3C/SCRIPT>\\x3C!--');" in text
    assert '{"a": "\\u003c/script>"}' in text


def test_a_directive_for_scripts_joins_the_hashes_of_the_scripts() -> None:
    text = page("t", "", scripts=["f()"], more_policy=["script-src blob:", "worker-src blob:"])
    assert re.search(r"script-src &#x27;sha256-[^;]+&#x27; blob:; ", text)
    assert "; worker-src blob:" in text


def test_there_are_no_addresses_in_what_pages_share() -> None:
    for name in ("theme.css", "slider.css", "slider.js"):
        found = re.findall(r"https?://[^'\" ]+", asset(name))
        assert set(found) <= {"http://www.w3.org/2000/svg"}  # a name, which nothing asks for
