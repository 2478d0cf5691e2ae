"""The web page of tools/demo.py: search in a video by a sentence. It needs `pip install .[demo]`.

Without Gradio: `listed_videos.py` knows which videos can be picked, `video_search.py` asks the model about one of them,
`video_library.py` searches an index of many and `growing_library.py` makes one while it is used, `result_html.py` and
`library_html.py` write what was found as html.

With Gradio: `one_video_tab.py` and `library_tab.py` are the tabs, `page.py` puts them on a page, `media.py` delivers videos
to it, and `demo_command.py` is the command.
"""
