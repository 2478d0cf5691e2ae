"""Name -> class, for the few places where a yaml key picks one."""

from collections.abc import Callable

from mmn.utils.errors import unknown_choice


class Registry:
    """`key` is the config key whose value is looked up here; it is named in the error for an unknown value."""

    def __init__(self, key: str):
        self.key = key
        self.entries: dict[str, type] = {}

    def register(self, name: str) -> Callable[[type], type]:
        def add(cls: type) -> type:
            self.entries[name] = cls
            return cls

        return add

    def __getitem__(self, name: str) -> type:
        if name not in self.entries:
            raise unknown_choice(self.key, name, sorted(self.entries))
        return self.entries[name]
