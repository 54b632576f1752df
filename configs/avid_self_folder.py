"""Self-AVID on your own folder of videos: instance discrimination within each modality.

python -m avjax.main --config configs/avid_self_folder.py --config.data.root=DIR

Morgado et al., CVPR 2021, https://arxiv.org/abs/2004.12943, but without a memory bank: a batch
holds two clips of each video.  DIR and `:large` as in configs/avid_folder.py.  Joint-AVID:
`--config.method.terms.v2a=1 --config.method.terms.a2v=1`.  The paper finds Cross-AVID better than
either.  Not yet run here.
"""

from avjax.configs import avid_folder


def get_config(size="small"):
    c = avid_folder.get_config(size)
    c.data.train.clip_sampler.num_clips = c.method.num_clips = 2
    # Paper: a clip is compared with the memory bank's entry of its video.
    c.method.terms = dict(v2a=0.0, a2v=0.0, v2v=1.0, a2a=1.0)
    return c
