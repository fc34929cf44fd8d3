"""Kubeflow components and pipelines derived from the steps of synth_components.  Not written yet."""
