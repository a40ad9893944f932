"""Databento: the codec of its binary encoding. The live gateway's session will stand beside it."""
