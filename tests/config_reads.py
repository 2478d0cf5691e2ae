"""Which config keys a source file reads, by their full names."""

import ast

from mmn.config import get_cfg

TOP = frozenset(get_cfg())  # SOLVER, TEST, ...: an attribute of such a name is that section of some config


def config_reads(source: str) -> set[str]:
    """Full names of the keys and sections that Python source reads, such as SOLVER.LR of `cfg.SOLVER.LR`.

    A name that was given a section counts as that section, in its function and those inside: `solver = cfg.SOLVER`, then
    `solver.LR`. What is read by a name that is only known at run time, `cfg.SOLVER[name]`, is not found.
    """
    finder = _Finder()
    finder.visit(ast.parse(source))
    return finder.reads


class _Finder(ast.NodeVisitor):
    def __init__(self):
        self.reads: set[str] = set()
        self.sections: list[dict[str, str | None]] = [
            {}
        ]  # innermost scope last: name -> the section that it stands for

    def path(self, node: ast.expr) -> str | None:
        """The key or section that an expression is; None for any other."""
        if isinstance(node, ast.Name):
            return next((scope[node.id] for scope in reversed(self.sections) if node.id in scope), None)
        if isinstance(node, ast.Attribute):
            value, name = node.value, node.attr
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            value, name = node.value, node.slice.value
        else:
            return None
        section = self.path(value)
        if section is not None:
            return f"{section}.{name}" if str(name).isupper() else None
        return name if name in TOP and isinstance(node, ast.Attribute) else None

    def visit_Attribute(self, node: ast.Attribute | ast.Subscript) -> None:
        path = self.path(node)
        if path is not None and isinstance(node.ctx, ast.Load):
            self.reads.add(path)
        self.generic_visit(node)

    visit_Subscript = visit_Attribute

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self.bind(target, node.value)
            self.visit(target)

    def bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self.sections[-1][target.id] = self.path(value)
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, its in zip(target.elts, value.elts, strict=False):
                self.bind(one, its)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.Lambda) -> None:
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        self.sections.append(dict.fromkeys(argument.arg for argument in arguments))
        self.generic_visit(node)
        self.sections.pop()

    visit_AsyncFunctionDef = visit_Lambda = visit_FunctionDef
