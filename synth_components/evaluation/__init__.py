"""Judge synthetic data: fidelity, utility, privacy, each beside its floor."""
