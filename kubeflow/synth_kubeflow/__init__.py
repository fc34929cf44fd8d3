"""Kubeflow components and pipelines, derived from the steps of ``synth_components``; ``synth kubeflow --help``.

``components`` lists them and ``execute`` runs one inside a container: neither needs kfp.  ``component``, ``pipelines``,
``compile`` and ``local`` do, and never run in an image.
"""
