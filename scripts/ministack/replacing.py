"""How the modules here put what is theirs in the place of MiniStack's own."""


def replace(before: dict, module, **own) -> None:
    """Puts each of `own` in the place of what has its name in `module`, which is kept in `before`."""
    for name, ours in own.items():
        before[name] = getattr(module, name)
        setattr(module, name, ours)
