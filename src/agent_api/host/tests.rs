//! Hosts made of files in a folder.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use super::*;

/// A host's root with these files; a path that ends in a slash is an empty folder.
fn host(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        if path.to_string_lossy().ends_with('/') {
            fs::create_dir_all(&path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
        }
    }
    root
}

async fn told(root: &Path) -> Result<Value, Fail> {
    use http_body_util::BodyExt;
    let response = Host::new(root).info().await?;
    assert_eq!(response.headers()["content-type"], "application/json");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    Ok(serde_json::from_slice(&body).unwrap())
}

const DATABASE: &str = "# a comment\n8086  Intel Corporation\n\t1237  440FX - 82441FX PMC\n\t\t1af4 1100  Qemu machine\n\
                        1af4  Red Hat, Inc.\n\t1000  Virtio network device\nC 02  Network controller\n\t1001  no device\n";

#[tokio::test]
async fn disks_and_devices_are_named_and_in_order() {
    let root = host(&[
        ("sys/block/sdb/size", "1000215216\n"),
        ("sys/block/sdb/device/vendor", "ATA     \n"),
        ("sys/block/loop0/size", "8\n"),
        ("sys/block/nvme0n1/size", "0\n"),
        ("sys/block/gone/", ""),
        ("sys/bus/pci/devices/0000:00:03.0/vendor", "0x1af4\n"),
        ("sys/bus/pci/devices/0000:00:03.0/device", "0x1000\n"),
        ("sys/bus/pci/devices/0000:00:00.0/vendor", "0x8086\n"),
        ("sys/bus/pci/devices/0000:00:00.0/device", "0x1237\n"),
        ("sys/bus/pci/devices/0000:00:04.0/vendor", "0x1af4\n"),
        ("sys/bus/pci/devices/0000:00:04.0/device", "0x1001\n"),
        ("sys/bus/pci/devices/0000:00:05.0/vendor", "0xffff\n"),
        ("sys/bus/pci/devices/0000:00:05.0/device", "0x1000\n"),
        ("sys/bus/pci/devices/0000:00:06.0/vendor", "0x8086\n"),
        ("usr/share/misc/pci.ids", DATABASE),
    ]);
    let expected = serde_json::json!({
        "PCIDevices": [
            {"Vendor": "Intel Corporation", "Name": "440FX - 82441FX PMC"},
            {"Vendor": "Red Hat, Inc.", "Name": "Virtio network device"},
            {"Vendor": "Red Hat, Inc.", "Name": "unknown"},
            {"Vendor": "unknown", "Name": "unknown"},
        ],
        "PhysicalDisks": [
            {"Vendor": "unknown", "Size": 0},
            {"Vendor": "ATA", "Size": 512_110_190_592_u64},
        ],
    });
    assert_eq!(told(root.path()).await.unwrap(), expected);
}

#[tokio::test]
async fn devices_without_names_or_a_list_are_null_and_none_are_an_empty_list() {
    let device = [
        ("sys/bus/pci/devices/0000:00:00.0/vendor", "0x8086\n"),
        ("sys/bus/pci/devices/0000:00:00.0/device", "0x1237\n"),
    ];
    let rows: [(&[(&str, &str)], Value); 3] = [
        (&device, Value::Null),
        (&[], Value::Null),
        (&[("sys/bus/pci/devices/", "")], serde_json::json!([])),
    ];
    for (files, expected) in rows {
        let root = host(&[&[("sys/block/", "")], files].concat());
        let told = told(root.path()).await.unwrap();
        assert_eq!(
            (&told["PCIDevices"], &told["PhysicalDisks"]),
            (&expected, &serde_json::json!([])),
            "{files:?}"
        );
    }
}

#[tokio::test]
async fn disks_that_cannot_be_read_are_a_failure_that_names_them() {
    for (files, named) in [
        (&[("usr/share/misc/pci.ids", DATABASE)][..], "sys/block"),
        (&[("sys/block/sda/size", "many\n")], "sys/block/sda"),
    ] {
        let root = host(files);
        let failed = told(root.path()).await.unwrap_err();
        assert!(matches!(&failed, Fail::Disks { path, .. } if path.ends_with(named)), "{failed:?}");
        assert!(failed.to_string().ends_with(named), "{failed}");
    }
}

#[test]
fn without_a_mounted_host_it_is_our_own_root() {
    let mounted = host(&[]);
    assert_eq!(root(mounted.path()), mounted.path());
    assert_eq!(root(&mounted.path().join("not-there")), Path::new("/"));
}

#[test]
fn a_file_without_end_is_read_up_to_its_bound() {
    assert_eq!(word(Path::new("/dev/zero")).unwrap().len() as u64, LARGEST);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_disk_that_hangs_is_told_so_and_the_threads_are_bounded() {
    let host = Host::new(Path::new("/"));
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Arc::new(std::sync::Mutex::new(held));
    for _ in 0..LOOKS {
        let held = Arc::clone(&held);
        let hanging = host.look(PATIENCE, move |_| held.lock().unwrap().recv().is_ok());
        let (hung, ()) = tokio::join!(hanging, tokio::time::advance(PATIENCE));
        assert!(matches!(hung, Err(Fail::HostSilent)));
    }
    assert_eq!(host.looks.available_permits(), 0, "a thread that hangs keeps its place");
    let (late, ()) = tokio::join!(host.look(PATIENCE, |_| ()), tokio::time::advance(PATIENCE));
    assert!(matches!(late, Err(Fail::HostSilent)));
    drop(release);
    let _places = host.looks.acquire_many(LOOKS as u32).await.unwrap();
}

#[test]
fn a_table_ends_with_a_whole_line_however_long_it_is() {
    let line = |n: usize| format!("{n:>4} 0 sd{n} 1 0 1 0 1 0 1234567890\n");
    let lines: String = (0..9000).map(line).collect();
    let root = host(&[("proc/diskstats", &lines)]);
    let path = root.path().join("proc/diskstats");
    assert_eq!(table(&path, LARGEST_TABLE).unwrap(), lines);
    for largest in [100, 1000, 70_000] {
        let cut = table(&path, largest).unwrap();
        assert!(lines.starts_with(&cut) && !cut.is_empty(), "{largest}");
        assert!(cut.lines().all(|line| line.ends_with(" 1234567890")), "{largest}");
    }
    assert_eq!(table(&path, 5).unwrap(), "");
}
