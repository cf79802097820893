"""Where the documentation is, and the link to it in HTML representations."""

SITE = "https://skdmn.github.io/skdmn"


class DocLinkMixin:
    """Links an estimator of this package to its page of the documentation."""

    _doc_link_module = "skdmn"
    _doc_link_template = f"{SITE}/api/skdmn.{{estimator_name}}.html"
