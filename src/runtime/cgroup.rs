//! What the process's control groups leave it of the machine's memory.

use std::fs;
use std::path::Path;

/// The lowest limit of the groups that the process is in, in bytes; none where they have none.
pub fn memory_limit_bytes() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    lowest_limit(&groups, Path::new("/sys/fs/cgroup"))
}

/// Of a process with these groups, as `/proc/PID/cgroup` lists them, below a directory where they are mounted.
fn lowest_limit(groups: &str, mounted: &Path) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let (_, group) = line.split_once(':')?;
        let (controllers, path) = group.split_once(':')?;
        let (top, file) = if controllers.is_empty() {
            (mounted.to_path_buf(), "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            (mounted.join("memory"), "memory.limit_in_bytes")
        } else {
            return None;
        };
        // A limit holds for all groups below. A container may see its own group as the topmost.
        let own = top.join(path.trim_start_matches('/'));
        let groups = own.ancestors().take_while(|group| group.starts_with(&top));
        groups
            .filter_map(|group| {
                let text = fs::read_to_string(group.join(file)).ok()?;
                text.trim().parse().ok()
            })
            .min()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_counts() {
        let name = format!("skein-cgroup-{}", std::process::id());
        let mounted = std::env::temp_dir().join(name);
        for (file, text) in [
            ("a/memory.max", "3000000\n"),
            ("a/b/memory.max", "max\n"),
            ("c/memory.max", "max\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/d/memory.limit_in_bytes", "2000000\n"),
        ] {
            let path = mounted.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        for (groups, limit) in [
            ("0::/a/b\n", Some(3_000_000)),
            ("0::/c\n", None),
            ("0::/\n", None),
            ("5:cpu,cpuacct:/d\n4:memory:/d\n0::/\n", Some(2_000_000)),
            ("4:memory:/d\n0::/a\n", Some(2_000_000)),
            ("4:memory:/gone\n", Some(9_223_372_036_854_771_712)),
            ("4:cpu:/d\n", None),
            ("", None),
            ("nonsense", None),
        ] {
            assert_eq!(lowest_limit(groups, &mounted), limit, "{groups}");
        }
        fs::remove_dir_all(mounted).unwrap();
    }
}
