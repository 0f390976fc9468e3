"""The README shows the screen that there is."""

from tests.thunderctl.tui.picture import PICTURE, drawn


async def test_the_picture_is_of_the_screen_as_it_is():
    """Where this fails, look at the screen and then make it anew: `python -m tests.thunderctl.tui.picture`."""
    made = await drawn()
    assert "http" not in made.replace("http://www.w3.org", "").replace("http://127.0.0.1", "")
    assert PICTURE.read_text() == made
