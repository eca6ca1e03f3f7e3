from collections.abc import Callable
from typing import Any

class IndexDataCacheFile:
    _version: str

class FunctionCache:
    _cache_file: IndexDataCacheFile
    def __init__(self, py_func: Callable[..., Any]) -> None: ...
