"""nnU-Net as the engine of some methods: its data set, plan, training and predictions.

`settings` and `dataset` need neither torch nor nnU-Net. The other modules run in nnU-Net's own
environment (envs/nnunet.yaml).
"""
