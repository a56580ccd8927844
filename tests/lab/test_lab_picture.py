"""The picture holds what was printed, as XML."""

from xml.etree import ElementTree as ET

from lab import picture


def test_each_line_is_in_the_picture() -> None:
    """Also one with letters that XML uses; a long line goes on in the next."""
    text = "  1.00 s  a < b & c\n" + "word " * 40
    drawn = ET.fromstring(picture.drawn("title", text))

    lines = [element.text or "" for element in drawn if element.tag.endswith("text")]
    assert lines[0] == "  1.00 s  a < b & c"
    assert " ".join(" ".join(lines[1:]).split()) == ("word " * 40).strip()
    assert max(map(len, lines)) <= picture.COLUMNS
