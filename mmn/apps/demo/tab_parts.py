"""Parts that the tabs of the page have in common."""

import os
from types import ModuleType

from mmn.utils.errors import UserError

NO_QUERY = "Type what happens in the moment you look for, for example “a person opens a door”."
PRIVATE = {"api_visibility": "private"}  # of every event: programs are not offered it


def query_row(gradio: ModuleType, query_id: str, label: str, button_id: str) -> tuple:
    """The box that a sentence is typed into, and the button beside it."""
    with gradio.Row(equal_height=True):
        query = gradio.Textbox(
            label="What happens?",
            placeholder="a person opens a door",
            elem_id=query_id,
            elem_classes="query",
            scale=4,
            max_lines=3,
        )
        button = gradio.Button(label, variant="primary", elem_id=button_id, scale=1, min_width=80)
    return query, button


def examples_of(gradio: ModuleType, query, label: str):
    """Sentences that go to the box `query` by a click; none is shown yet."""
    return gradio.Dataset(components=[query], samples=[[""]], label=label, visible=False, type="values")


def readable(error: UserError) -> str:
    """An error's sentence as it stands on the page: an uploaded file's folder on the server is nobody's business."""
    words = [os.path.basename(word) if word.startswith(os.sep) else word for word in str(error).split(" ")]
    sentence = " ".join(words)
    return sentence + ("" if sentence.endswith((".", "!")) else ".")
