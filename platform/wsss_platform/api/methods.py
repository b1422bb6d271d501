"""The methods there are, and every setting of one, as documents."""

from __future__ import annotations

from wsss_platform.api.experiments import find_method
from wsss_platform.config import Section, leaves, look_up
from wsss_platform.method.documents import ListedMethod, MethodField, MethodFields, MethodList


def method_list() -> MethodList:
    """Every method of the catalogue."""
    import wsss_methods

    found = [find_method(each) for each in wsss_methods.names()]
    listed = tuple(
        ListedMethod(name=m.name, title=m.title, paper=m.paper, revision=m.revision, presets=tuple(m.presets()))
        for m in found
    )
    return MethodList(methods=listed)


def method_fields(name: str) -> MethodFields:
    """Every setting of a method with its default and meaning; InputError for an unknown one."""
    method = find_method(name)
    config = method.config()
    fields = []
    for path, value in leaves(config):
        parent, _, field = path.rpartition(".")
        section = look_up(config, parent) if parent else config
        assert isinstance(section, Section)
        meaning = " ".join((type(section).model_fields[field].description or "").split())
        fields.append(MethodField(field=path, default=value, meaning=meaning))
    return MethodFields(method=method.name, title=method.title, fields=tuple(fields))
