"""The sides: one module for each library, imported in the environment that has it and nowhere else.

Each has ``PACKAGES`` (whose versions are reported) and ``build(case, arrays, dtype, device) -> {name: Task}``.
"""
