"""Collectives are read from the text of a program, loops included."""

from avjax.planning.collectives import Collective, parse

HLO = """HloModule jit_step, entry_computation_layout={()->f32[]}

%add.1 (x: f32[], y: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%x, %y)
}

%body.2 (p: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %hop = f32[4,8]{1,0:T(8,128)} collective-permute(%x), channel_id=1, source_target_pairs={{0,1}}
}

%cond.3 (p: (s32[], f32[4,8])) -> pred[] {
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

%fused.4 (p: bf16[16]) -> bf16[128] {
  ROOT %all-gather.5 = bf16[128]{0} all-gather(%p), channel_id=2, replica_groups=[1,8]<=[8]
}

%copy.of.fused (p: bf16[16]) -> bf16[128] {
  ROOT %all-gather.6 = bf16[128]{0} all-gather(%p), channel_id=2, replica_groups=[1,8]<=[8]
}

%body.7 (p: (s32[], f32[2,8])) -> (s32[], f32[2,8]) {
  %keys = (f32[2,8]{1,0}, f32[2,8]{1,0}, u32[], u32[]) collective-permute-start(%x), channel_id=1, source_target_pairs={{0,1}}
  %slots = (s32[2]{0}, s32[2]{0}, u32[], u32[]) collective-permute-start(%y), channel_id=1, source_target_pairs={{0,1}}
  %grads = (f32[2,8]{1,0}, f32[2,8]{1,0}, u32[], u32[]) collective-permute-start(%z), channel_id=1, source_target_pairs={{0,1}}
}

%cond.8 (p: (s32[], f32[2,8])) -> pred[] {
  %hops = s32[]{:T(128)} constant(5), metadata={op_name="hop"}
  ROOT %lt = pred[]{:T(512)} compare(%i, %hops), direction=LT
}

ENTRY %main.9 (a: f32[4,8]) -> f32[] {
  %w = (s32[], f32[4,8]) while(%t), condition=%cond.3, body=%body.2, backend_config={"known_trip_count":{"n":"8"}}
  %v = (s32[], f32[2,8]) while(%u), condition=%cond.8, body=%body.7, metadata={op_name="ring/while"}
  %f = bf16[128] fusion(%a), kind=kCustom, calls=%fused.4
  %g = bf16[128] fusion(%a), kind=kCustom, calls=%copy.of.fused
  %r = (f32[3,5]{1,0}, f32[]) all-reduce(%b, %c), channel_id=3, replica_groups=mesh['x'=4,'y'=2] {'x'}, to_apply=%add.1
  %q = f32[6]{0} all-reduce(%e), channel_id=5, replica_groups=mesh['x'=4,'y'=2], device_ids=([2,4]T(1,0)) {'y'}, to_apply=%add.1
  %s = (f32[16]{0}, f32[64]{0}) all-gather-start(%d), channel_id=4, replica_groups={{0,1,2,3},{4,5,6,7}}
  ROOT %done = f32[64]{0} all-gather-done(%s)
}
"""


def test_loops_channels_groups_and_sizes():
    assert parse(HLO, 8) == [
        Collective("collective-permute", "f32[4,8]", 8, 8, 128),
        Collective("collective-permute", "f32[2,8]", 8, 10, 64),
        Collective("all-gather", "bf16[128]", 8, 1, 256),
        Collective("all-gather", "f32[64]", 4, 1, 256),
        Collective("all-reduce", "f32[3,5], f32[]", 4, 1, 64),
        Collective("collective-permute", "s32[2]", 8, 5, 8),
        Collective("all-reduce", "f32[6]", 2, 1, 24),
    ]


def test_bytes_sent_are_those_of_a_ring():
    assert Collective("all-reduce", "", 4, 2, 100).sent() == 300
    assert Collective("all-gather", "", 4, 1, 100).sent() == 75
    assert Collective("reduce-scatter", "", 4, 1, 25).sent() == 75
    assert Collective("collective-permute", "", 4, 7, 10).sent() == 70
