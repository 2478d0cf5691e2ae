"""Reading and writing video files. Needs the extra `video` (`pip install .[video]`)."""
