# shellcheck shell=bash
# Shared by check-host and the apply scripts. Sourced, never run.
#
# Every path under /proc and /sys goes through `at`, so that SKEIN_TUNING_ROOT can point the scripts at a copied or
# invented tree. self-test uses that to exercise hardware this machine does not have.

root=${SKEIN_TUNING_ROOT:-}

at() { printf '%s%s' "$root" "$1"; }

die_usage() {
    printf '%s: %s (see --help)\n' "${0##*/}" "$1" >&2
    exit 2
}

# The comment block at the top of the calling script is its help text.
print_help() { awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; }

# First line of a file with tabs and runs of blanks made single, or the second argument when it cannot be read.
read_or() {
    local line
    if [[ -r $(at "$1") ]] && { read -r line <"$(at "$1")" || [[ -n ${line:-} ]]; } 2>/dev/null; then
        local -a words
        read -ra words <<<"$line"
        printf '%s' "${words[*]}"
    else
        printf '%s' "${2:-}"
    fi
}

sysctl_path() { printf '/proc/sys/%s' "${1//.//}"; }

# "2-5,8" -> "2 3 4 5 8", ascending and without repeats. Fails on anything else.
expand_cpu_list() {
    [[ $1 =~ ^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$ ]] || return 1
    local part first last cpu
    local -a parts seen=()
    IFS=, read -ra parts <<<"$1"
    for part in "${parts[@]}"; do
        first=$((10#${part%-*}))
        last=$((10#${part#*-}))
        ((first <= last && last < 8192)) || return 1
        for ((cpu = first; cpu <= last; cpu++)); do seen[cpu]=1; done
    done
    printf '%s' "${!seen[*]}"
}

# "2 3 4 5 8" -> "2-5,8"
compact_cpus() {
    local cpu first='' last='' out=''
    for cpu in $1; do
        if [[ -n $last ]] && ((cpu == last + 1)); then
            last=$cpu
            continue
        fi
        [[ -n $first ]] && out+=,$(cpu_range "$first" "$last")
        first=$cpu
        last=$cpu
    done
    [[ -n $first ]] && out+=,$(cpu_range "$first" "$last")
    printf '%s' "${out#,}"
}

cpu_range() { if (($1 == $2)); then printf '%s' "$1"; else printf '%s-%s' "$1" "$2"; fi; }

online_cpus() {
    local list
    list=$(read_or /sys/devices/system/cpu/online)
    [[ -n $list ]] || list="0-$(($(getconf _NPROCESSORS_ONLN) - 1))"
    expand_cpu_list "$list"
}

contains() { [[ " $1 " == *" $2 "* ]]; }

# Members of the first list that are also in the second.
intersect() {
    local item out=''
    for item in $1; do contains "$2" "$item" && out+=" $item"; done
    printf '%s' "${out# }"
}

# Members of the first list that are not in the second.
subtract() {
    local item out=''
    for item in $1; do contains "$2" "$item" || out+=" $item"; done
    printf '%s' "${out# }"
}

# "0 33" -> "00000002,00000001": the hexadecimal mask of rps_cpus and xps_cpus, 32 bits per group.
cpus_to_mask() {
    local cpu group highest=0 out=''
    local -a words=(0)
    for cpu in $1; do
        group=$((cpu / 32))
        words[group]=$((${words[group]:-0} | (1 << (cpu % 32))))
        ((group > highest)) && highest=$group
    done
    for ((group = highest; group >= 0; group--)); do out+=,$(printf '%08x' "${words[group]:-0}"); done
    printf '%s' "${out#,}"
}

# Masks without commas and leading zeros, so that two spellings of one mask compare equal.
normal_mask() {
    local mask=${1//,/}
    mask=${mask#"${mask%%[!0]*}"}
    printf '%s' "${mask:-0}"
}

process_running() {
    local comm name
    for comm in "$(at /proc)"/[0-9]*/comm; do
        { read -r name <"$comm"; } 2>/dev/null || continue
        [[ $name == "$1" ]] && return 0
    done
    return 1
}

# The first line of /proc/swaps is its heading.
has_swap() { [[ -r $(at /proc/swaps) ]] && (($(wc -l <"$(at /proc/swaps)") > 1)); }

# Interfaces backed by a device (not lo, bridges, veth, ifb).
physical_nics() {
    local dir out=''
    for dir in "$(at /sys/class/net)"/*; do [[ -e $dir/device ]] && out+=" ${dir##*/}"; done
    printf '%s' "${out# }"
}

# IRQ numbers of one interface: message-signalled interrupts of its device, or of the PCI parent of a virtio device.
nic_irqs() {
    local nic=$1 device dir irq out=''
    device=$(readlink -f "$(at "/sys/class/net/$nic/device")") || return 0
    for dir in "$device/msi_irqs" "${device%/*}/msi_irqs"; do
        [[ -d $dir ]] || continue
        for irq in "$dir"/*; do [[ -d $(at "/proc/irq/${irq##*/}") ]] && out+=" ${irq##*/}"; done
        break
    done
    printf '%s' "${out# }"
}

irq_name() {
    awk -v irq="$1:" '$1 == irq { print $NF }' "$(at /proc/interrupts)" 2>/dev/null || true
}

nic_queues() { # <nic> <rx|tx>
    local dir out=''
    for dir in "$(at "/sys/class/net/$1/queues")/$2"-*; do [[ -d $dir ]] && out+=" ${dir##*/}"; done
    printf '%s' "${out# }"
}

# ---- writing, for the apply scripts -------------------------------------------------------------------------------
# The state file has one line per changed path: path TAB value before TAB value after. It lives in /run because the
# settings themselves do not survive a reboot either.

state_file=${SKEIN_TUNING_STATE_DIR:-/run/skein-tuning}/${0##*/}.state
dry_run=no
failures=0

require_root() {
    [[ $dry_run == yes || -n $root || $EUID -eq 0 ]] && return
    printf '%s: writing needs root; --dry-run does not\n' "${0##*/}" >&2
    exit 1
}

cannot() { printf 'cannot   %s: %s\n' "$1" "$2"; }

refused() {
    printf 'refused  %s: %s\n' "$1" "$2"
    failures=$((failures + 1))
}

# Sets one file and remembers what it held. Third argument: how to compare, `text` (default) or `mask`.
set_file() {
    local path=$1 wanted=$2 compare=${3:-text} old new error
    if [[ ! -e $(at "$path") ]]; then
        cannot "$path" "not present on this host"
        return
    fi
    if ! old=$(current_choice "$path"); then
        cannot "$path" "present but not readable; the driver does not support it"
        return
    fi
    if same "$compare" "$old" "$wanted"; then
        printf 'same     %s  %s\n' "$path" "$old"
        return
    fi
    if [[ $dry_run == yes ]]; then
        printf 'would    %s  %s -> %s\n' "$path" "$old" "$wanted"
        return
    fi
    if ! error=$(write_value "$path" "$wanted" 2>&1); then
        refused "$path" "kernel rejected '$wanted': ${error##*: }"
        return
    fi
    new=$(current_choice "$path")
    remember "$path" "$old" "$new"
    printf 'set      %s  %s -> %s\n' "$path" "$old" "$new"
}

write_value() { printf '%s\n' "$2" >"$(at "$1")"; }

# The value of a file; of a list like "always [madvise] never" only the chosen word.
current_choice() {
    local value
    value=$(cat "$(at "$1")" 2>/dev/null) || return 1
    local -a words
    read -ra words <<<"$value" || true
    value=${words[*]}
    if [[ $value =~ \[([^]]+)\] ]]; then value=${BASH_REMATCH[1]}; fi
    printf '%s' "$value"
}

same() {
    case $1 in
    mask) [[ $(normal_mask "$2") == "$(normal_mask "$3")" ]] ;;
    *) [[ $2 == "$3" ]] ;;
    esac
}

# Keeps the oldest "before", so that applying twice still reverts to the untouched machine.
remember() {
    local path=$1 old=$2 new=$3 kept
    mkdir -p "${state_file%/*}"
    touch "$state_file"
    kept=$(awk -F '\t' -v p="$path" '$1 == p { print $2; exit }' "$state_file")
    awk -F '\t' -v p="$path" '$1 != p' "$state_file" >"$state_file.new"
    printf '%s\t%s\t%s\n' "$path" "${kept:-$old}" "$new" >>"$state_file.new"
    mv "$state_file.new" "$state_file"
}

# Restores everything in the state file, newest first. A value that someone changed afterwards is left alone.
revert() {
    local path old new now error
    local -a lines=()
    if [[ ! -s $state_file ]]; then
        printf 'nothing to revert: %s does not exist\n' "$state_file"
        return
    fi
    mapfile -t lines <"$state_file"
    for ((i = ${#lines[@]} - 1; i >= 0; i--)); do
        IFS=$'\t' read -r path old new <<<"${lines[i]}"
        now=$(current_choice "$path") || now='(unreadable)'
        if [[ $now == "$old" ]]; then
            printf 'same     %s  %s\n' "$path" "$old"
        elif [[ $now != "$new" ]]; then
            printf 'kept     %s  %s: changed by someone else since (was %s, set to %s)\n' "$path" "$now" "$old" "$new"
        elif [[ $dry_run == yes ]]; then
            printf 'would    %s  %s -> %s\n' "$path" "$now" "$old"
        elif error=$(write_value "$path" "$old" 2>&1); then
            printf 'restored %s  %s -> %s\n' "$path" "$now" "$old"
        else
            refused "$path" "kernel rejected '$old': ${error##*: }"
        fi
    done
    if [[ $dry_run == no && $failures -eq 0 ]]; then rm -f "$state_file"; fi
}

finish() {
    ((failures == 0)) && exit 0
    printf '%d setting(s) refused\n' "$failures" >&2
    exit 1
}
