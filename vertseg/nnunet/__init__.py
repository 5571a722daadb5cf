"""nnU-Net as an engine of methods: its data set, plans, training and predictions.

`settings` and `dataset` need neither torch nor nnU-Net; everything else runs in nnU-Net's own
environment (envs/nnunet.yaml).
"""
