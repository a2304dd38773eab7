"""Public benchmarks: one file is one dataset, from its official annotations to a protocol or to numbers.

fivr              FIVR-5K, FIVR-200K
vcdb              VCDB, its core and with background
evve              EVVE
svd               SVD
cc_web_video      CC_WEB_VIDEO
class_retrieval   UCF101, HMDB51, JHMDB
vcsl              segments of VCSL and VCDB
vsc2022           both tracks of the Video Similarity Challenge 2022
"""
