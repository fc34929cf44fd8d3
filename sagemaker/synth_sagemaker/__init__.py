"""SageMaker training, processing and serving derived from the steps of synth_components."""
