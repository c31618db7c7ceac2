"""The bibliography's entries, said right to those who listen: docutils makes a list of them that has no list items."""


def unlist(app, pagename, templatename, context, doctree):
    if "body" in context:
        context["body"] = context["body"].replace(' role="list" class="citation-list"', ' class="citation-list"')


def setup(app):
    app.connect("html-page-context", unlist)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
