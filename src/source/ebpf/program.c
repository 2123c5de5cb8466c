// What the kernel is asked to tell: groups made and removed, tasks moved between them, programs that begin and end, and
// victims of the killer of memory. It only passes on; what belongs together is decided in `track.rs`.
//
// Raw tracepoints, because they need no file system to be mounted and hand over what the kernel itself has. Where a field
// of a structure lies is looked up in the type information of the running kernel when this is loaded: hence structures
// with only the fields that are read, in any order. `build` makes `program.o` of this file.

#include <linux/types.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define KIND_EXEC 1
#define KIND_EXIT 2
#define KIND_ATTACH 3
#define KIND_MKDIR 4
#define KIND_RMDIR 5
#define KIND_VICTIM 6

// The longest path that the kernel's own tracepoints tell.
#define PATH_BYTES 1024
#define PROGRAM_BYTES 16
#define RING_BYTES (1 << 21)

#define relocated __attribute__((preserve_access_index))

struct kernfs_node {
    __u64 id;
} relocated;

struct cgroup_root {
    int hierarchy_id;
} relocated;

struct cgroup {
    struct kernfs_node *kn;
    struct cgroup_root *root;
} relocated;

struct cgroup_subsys_state {
    struct cgroup *cgroup;
} relocated;

enum cgroup_subsys_id { pids_cgrp_id = 11 };

struct css_set {
    struct cgroup_subsys_state *subsys[16];
    struct cgroup *dfl_cgrp;
} relocated;

typedef struct {
    int counter;
} atomic_t;

struct signal_struct {
    atomic_t live;
} relocated;

struct linux_binprm {
    const char *filename;
} relocated;

struct task_struct {
    int tgid;
    struct css_set *cgroups;
    struct signal_struct *signal;
} relocated;

// Read by `record.rs`, byte for byte.
struct record {
    __u64 stamp;           // CLOCK_MONOTONIC
    __u64 group;           // in the unified tree; of groups made, removed and attached to, in their own
    __u64 split_group;     // in the tree of the controller of processes
    __s32 hierarchy;       // the tree of `group`
    __s32 split_hierarchy; // the tree of `split_group`
    __u32 kind;
    __u32 process;
    char program[PROGRAM_BYTES]; // how the path begins of what is executed
};

struct named_record {
    struct record record;
    char path[PATH_BYTES];
};

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, RING_BYTES);
} RECORDS SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} LOST SEC(".maps");

static __always_inline void count_lost(void)
{
    __u32 first = 0;
    __u64 *lost = bpf_map_lookup_elem(&LOST, &first);
    if (lost)
        __sync_fetch_and_add(lost, 1);
}

static __always_inline void put_head(struct record *record, __u32 kind, __u32 process)
{
    record->stamp = bpf_ktime_get_ns();
    record->group = record->split_group = 0;
    record->hierarchy = record->split_hierarchy = 0;
    record->kind = kind;
    record->process = process;
    __builtin_memset(record->program, 0, PROGRAM_BYTES);
}

static __always_inline void put_group(struct record *record, struct cgroup *group)
{
    record->group = BPF_CORE_READ(group, kn, id);
    record->hierarchy = BPF_CORE_READ(group, root, hierarchy_id);
}

static __always_inline void put_groups_of(struct record *record, struct task_struct *task)
{
    struct css_set *set = BPF_CORE_READ(task, cgroups);
    put_group(record, BPF_CORE_READ(set, dfl_cgrp));
    if (bpf_core_enum_value_exists(enum cgroup_subsys_id, pids_cgrp_id)) {
        __u32 index = bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id);
        struct cgroup_subsys_state *state = 0;
        bpf_core_read(&state, sizeof(state), &set->subsys[0] + index);
        struct cgroup *split = BPF_CORE_READ(state, cgroup);
        record->split_group = BPF_CORE_READ(split, kn, id);
        record->split_hierarchy = BPF_CORE_READ(split, root, hierarchy_id);
    }
}

static __always_inline int tell_process(__u32 kind, struct task_struct *task, const char *program)
{
    struct record *record = bpf_ringbuf_reserve(&RECORDS, sizeof(*record), 0);
    if (!record) {
        count_lost();
        return 0;
    }
    put_head(record, kind, BPF_CORE_READ(task, tgid));
    put_groups_of(record, task);
    if (program)
        bpf_probe_read_kernel_str(record->program, PROGRAM_BYTES, program);
    bpf_ringbuf_submit(record, 0);
    return 0;
}

static __always_inline int tell_group(__u32 kind, struct cgroup *group, const char *path)
{
    struct named_record *named = bpf_ringbuf_reserve(&RECORDS, sizeof(*named), 0);
    if (!named) {
        count_lost();
        return 0;
    }
    put_head(&named->record, kind, 0);
    put_group(&named->record, group);
    named->path[0] = 0;
    bpf_probe_read_kernel_str(named->path, PATH_BYTES, path);
    bpf_ringbuf_submit(named, 0);
    return 0;
}

// (task, old process id, program)
SEC("raw_tp/sched_process_exec")
int on_exec(struct bpf_raw_tracepoint_args *context)
{
    struct linux_binprm *binary = (struct linux_binprm *)context->args[2];
    return tell_process(KIND_EXEC, (struct task_struct *)context->args[0], BPF_CORE_READ(binary, filename));
}

// (task, and in newer kernels whether it was the last of its process)
SEC("raw_tp/sched_process_exit")
int on_exit(struct bpf_raw_tracepoint_args *context)
{
    struct task_struct *task = (struct task_struct *)context->args[0];
    if (BPF_CORE_READ(task, signal, live.counter))
        return 0;
    return tell_process(KIND_EXIT, task, 0);
}

// (destination, its path, task, whether all of its process): while it still is where it was
SEC("raw_tp/cgroup_attach_task")
int on_attach(struct bpf_raw_tracepoint_args *context)
{
    struct task_struct *task = (struct task_struct *)context->args[2];
    struct record *record = bpf_ringbuf_reserve(&RECORDS, sizeof(*record), 0);
    if (!record) {
        count_lost();
        return 0;
    }
    put_head(record, KIND_ATTACH, BPF_CORE_READ(task, tgid));
    put_group(record, (struct cgroup *)context->args[0]);
    bpf_ringbuf_submit(record, 0);
    return 0;
}

// (group, its path)
SEC("raw_tp/cgroup_mkdir")
int on_mkdir(struct bpf_raw_tracepoint_args *context)
{
    return tell_group(KIND_MKDIR, (struct cgroup *)context->args[0], (const char *)context->args[1]);
}

// (group, its path)
SEC("raw_tp/cgroup_rmdir")
int on_rmdir(struct bpf_raw_tracepoint_args *context)
{
    return tell_group(KIND_RMDIR, (struct cgroup *)context->args[0], (const char *)context->args[1]);
}

// (task, user) since Linux 6.9, (process id) before: an address of the kernel is never a process id.
SEC("raw_tp/mark_victim")
int on_victim(struct bpf_raw_tracepoint_args *context)
{
    __u64 victim = context->args[0];
    if (victim >> 32)
        return tell_process(KIND_VICTIM, (struct task_struct *)victim, 0);
    struct record *record = bpf_ringbuf_reserve(&RECORDS, sizeof(*record), 0);
    if (!record) {
        count_lost();
        return 0;
    }
    put_head(record, KIND_VICTIM, victim);
    bpf_ringbuf_submit(record, 0);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
