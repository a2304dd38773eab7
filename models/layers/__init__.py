"""Building blocks that several methods share.

regions             frames to region vectors: ResNet-50 or Lite0, pooling, whitening
lite0               EfficientNet-Lite0 without its classifier, and where its weights are
whitening           projections on strong directions, out of PCA files
head                the similarity network of S2VS, ViSiL and DnS
comparator          the CNN that looks for diagonals in a matrix of frame similarities
packed_comparator   the same on many videos at once
chamfer             Chamfer similarity of frames and of videos
mel                 log-mel spectrograms, streaming
"""
