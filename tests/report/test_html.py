"""Elements escape what they are given, once."""

from __future__ import annotations

from gancomp.report.html import Html, details, element, joined, table


def test_text_and_attributes_are_escaped_and_elements_are_not_twice() -> None:
    made = element("p", 'a < b & "c"', element("b", "<script>"), title='"><script>', class_="x")
    assert made == (
        '<p title="&quot;&gt;&lt;script&gt;" class="x">a &lt; b &amp; &quot;c&quot;'
        "<b>&lt;script&gt;</b></p>"
    )


def test_attributes_without_a_value_are_named_or_left_out() -> None:
    assert element("button", hidden=True, disabled=False, aria_label=None) == (
        "<button hidden></button>"
    )
    assert element("img", src="a", data_name=1) == '<img src="a" data-name="1">'


def test_many_elements_are_joined_in_their_order() -> None:
    assert joined(["<", Html("<br>")], ">") == "&lt;<br>&gt;"
    assert details("more", "x", open_=True) == "<details open><summary>more</summary>x</details>"


def test_a_table_says_what_it_is_and_can_be_scrolled_by_keys() -> None:
    made = table(["a", "b"], [["x", "<1>"]], caption="What")
    assert 'role="region" tabindex="0" aria-label="What"' in made
    assert '<th scope="row">x</th><td>&lt;1&gt;</td>' in made
