// What the kernel is asked to tell: groups made and removed, tasks moved between them, programs that begin and end, and
// victims of the killer of memory. It only passes on; what belongs together is decided in `track.rs`.
//
// Raw tracepoints, because they need no file system to be mounted and hand over what the kernel itself has. Where a field
// of a structure lies is looked up in the type information of the running kernel when this is loaded: hence structures
// with only the fields that are read, in any order. `build` makes `program.o` of this file.

#include <linux/types.h>
#include <linux/bpf.h>

#define SEC(name) __attribute__((section(name), used))
#define inlined static inline __attribute__((always_inline))
// Where a field lies, and whether a constant is there and which, is filled in by the loader.
#define relocated __attribute__((preserve_access_index))
#define ENUM_EXISTS 0
#define ENUM_VALUE 1
#define enum_value(type, value, kind) __builtin_preserve_enum_value(*(type *)value, kind)

// A map is described by the types of a structure that is never filled.
#define number_is(name, value) int(*name)[value]
#define type_is(name, value) typeof(value) *name

// What the kernel does for a program, by its number in linux/bpf.h.
static void *(*const map_lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static __u64 (*const monotonic_ns)(void) = (void *)BPF_FUNC_ktime_get_ns;
static long (*const read_kernel)(void *to, __u32 size, const void *from) = (void *)BPF_FUNC_probe_read_kernel;
static long (*const read_text)(void *to, __u32 size, const void *from) = (void *)BPF_FUNC_probe_read_kernel_str;
static void *(*const reserve)(void *ring, __u64 size, __u64 flags) = (void *)BPF_FUNC_ringbuf_reserve;
static void (*const submit)(void *data, __u64 flags) = (void *)BPF_FUNC_ringbuf_submit;

// A field of a structure of the kernel.
#define field(pointer, name)                                         \
    ({                                                               \
        typeof((pointer)->name) value = 0;                           \
        read_kernel(&value, sizeof(value), &(pointer)->name);        \
        value;                                                       \
    })

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
    int group_exit_code;
} relocated;

struct linux_binprm {
    const char *filename;
} relocated;

struct task_struct {
    int tgid;
    struct css_set *cgroups;
    struct signal_struct *signal;
    int exit_code;
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
    char program[PROGRAM_BYTES]; // how the path begins of what is executed; of an end, the status as wait has it
};

struct named_record {
    struct record record;
    char path[PATH_BYTES];
};

struct {
    number_is(type, BPF_MAP_TYPE_RINGBUF);
    number_is(max_entries, RING_BYTES);
} RECORDS SEC(".maps");

struct {
    number_is(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    number_is(max_entries, 1);
    type_is(key, __u32);
    type_is(value, __u64);
} LOST SEC(".maps");

inlined void count_lost(void)
{
    __u32 first = 0;
    __u64 *lost = map_lookup(&LOST, &first);
    if (lost)
        __sync_fetch_and_add(lost, 1);
}

inlined void put_head(struct record *record, __u32 kind, __u32 process)
{
    record->stamp = monotonic_ns();
    record->group = record->split_group = 0;
    record->hierarchy = record->split_hierarchy = 0;
    record->kind = kind;
    record->process = process;
    __builtin_memset(record->program, 0, PROGRAM_BYTES);
}

inlined void put_group(struct record *record, struct cgroup *group)
{
    record->group = field(field(group, kn), id);
    record->hierarchy = field(field(group, root), hierarchy_id);
}

inlined void put_groups_of(struct record *record, struct task_struct *task)
{
    struct css_set *set = field(task, cgroups);
    put_group(record, field(set, dfl_cgrp));
    if (enum_value(enum cgroup_subsys_id, pids_cgrp_id, ENUM_EXISTS)) {
        struct cgroup_subsys_state *state = 0;
        read_kernel(&state, sizeof(state), &set->subsys[0] + enum_value(enum cgroup_subsys_id, pids_cgrp_id, ENUM_VALUE));
        struct cgroup *split = field(state, cgroup);
        record->split_group = field(field(split, kn), id);
        record->split_hierarchy = field(field(split, root), hierarchy_id);
    }
}

inlined int tell_process(__u32 kind, struct task_struct *task, const char *program)
{
    struct record *record = reserve(&RECORDS, sizeof(*record), 0);
    if (!record) {
        count_lost();
        return 0;
    }
    put_head(record, kind, field(task, tgid));
    put_groups_of(record, task);
    if (program)
        read_text(record->program, PROGRAM_BYTES, program);
    submit(record, 0);
    return 0;
}

inlined int tell_group(__u32 kind, struct cgroup *group, const char *path)
{
    struct named_record *named = reserve(&RECORDS, sizeof(*named), 0);
    if (!named) {
        count_lost();
        return 0;
    }
    put_head(&named->record, kind, 0);
    put_group(&named->record, group);
    named->path[0] = 0;
    read_text(named->path, PATH_BYTES, path);
    submit(named, 0);
    return 0;
}

// (task, old process id, program)
SEC("raw_tp/sched_process_exec")
int on_exec(struct bpf_raw_tracepoint_args *context)
{
    struct linux_binprm *binary = (struct linux_binprm *)context->args[2];
    return tell_process(KIND_EXEC, (struct task_struct *)context->args[0], field(binary, filename));
}

// (task, and in newer kernels whether it was the last of its process)
SEC("raw_tp/sched_process_exit")
int on_exit(struct bpf_raw_tracepoint_args *context)
{
    struct task_struct *task = (struct task_struct *)context->args[0];
    if (field(field(task, signal), live.counter))
        return 0;
    struct record *record = reserve(&RECORDS, sizeof(*record), 0);
    if (!record) {
        count_lost();
        return 0;
    }
    put_head(record, KIND_EXIT, field(task, tgid));
    put_groups_of(record, task);
    // That of the group where it was ended as one, which `exit` of any program does.
    int status = field(field(task, signal), group_exit_code);
    if (!status)
        status = field(task, exit_code);
    *(int *)record->program = status;
    submit(record, 0);
    return 0;
}

// (destination, its path, task, whether all of its process): while it still is where it was
SEC("raw_tp/cgroup_attach_task")
int on_attach(struct bpf_raw_tracepoint_args *context)
{
    struct task_struct *task = (struct task_struct *)context->args[2];
    struct record *record = reserve(&RECORDS, sizeof(*record), 0);
    if (!record) {
        count_lost();
        return 0;
    }
    put_head(record, KIND_ATTACH, field(task, tgid));
    put_group(record, (struct cgroup *)context->args[0]);
    submit(record, 0);
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
    struct record *record = reserve(&RECORDS, sizeof(*record), 0);
    if (!record) {
        count_lost();
        return 0;
    }
    put_head(record, KIND_VICTIM, victim);
    submit(record, 0);
    return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
