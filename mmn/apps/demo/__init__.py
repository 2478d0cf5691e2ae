"""The web page of tools/demo.py: search in a video by a sentence. It needs `pip install .[demo]`.

`videos.py` knows which videos can be picked, `search.py` asks the model, `results.py` writes html; none of them knows
Gradio. `page.py` puts them on a page.
"""
