"""MLflow flavour of synth-components models: save, log, load, serve.  Not written yet."""
