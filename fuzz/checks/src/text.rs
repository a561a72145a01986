//! Names and times as text.

use albatross_proto::{Label, MacAddress, Name, Path, Time};

/// Text as a name, path, label, address and time: what is read is printed in a form that is read as the
/// same.
pub fn names(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let name = text.parse::<Name>().ok().map(|name| {
        let printed = name.to_string();
        assert_eq!(printed.parse::<Name>().as_ref(), Ok(&name), "{printed}");
        assert!(printed.len() <= text.len() + 1 && printed == printed.to_ascii_lowercase(), "{printed}");
        check_path(name.path());
    });
    let path = text.parse::<Path>().ok().map(|path| {
        assert_eq!(path.to_string().parse().as_ref(), Ok(&path));
        assert_eq!(path.to_name().to_string().parse(), Ok(path.to_name()));
        check_path(&path);
    });
    let label = text.parse::<Label>().ok().map(|label| {
        assert_eq!(label.as_str().parse().as_ref(), Ok(&label));
        assert_eq!(label.as_str().parse::<Path>().unwrap().depth(), 1);
        let name = Name::from(&label);
        assert_eq!((name.path(), name.label()), (&Path::root(), Some(&label)));
    });
    let mac = text.parse::<MacAddress>().ok().map(|mac| assert_eq!(mac.to_string(), text.to_lowercase()));
    let time = text.parse::<Time>().ok().map(|time| {
        assert!((Time::MIN..=Time::MAX).contains(&time));
        let again: Time = time.to_string().parse().unwrap();
        assert_eq!(again.unix_millis(), time.unix_millis(), "{time}");
    });
    [name, path, label, mac, time].iter().any(Option::is_some)
}

fn check_path(path: &Path) {
    assert_eq!(path.labels().count(), path.depth());
    let above: Vec<Path> = path.ancestors().collect();
    assert_eq!(above.len(), path.depth() + 1);
    for ancestor in &above {
        assert!(path.is_within(ancestor) && ancestor <= path);
        let below = path.below(ancestor).unwrap();
        let joined = below.labels().fold(ancestor.clone(), |at, label| at.join(&label.parse().unwrap()));
        assert_eq!(&joined, path);
    }
}
