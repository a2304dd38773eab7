"""Published training losses, and how methods are trained with them.

losses           by method
batches          padded batches of videos through the similarity network
views            views of one video that act on time
picture_views    S2VS's views, made of frames
recipe           what every recipe is, and what it is given
recipes          by method: what is drawn, the loss, the optimiser
distillation     those of DnS: students, selector
trainer          one training, step by step
tca_alignments   the other ways to compare that TCA's code has
"""
