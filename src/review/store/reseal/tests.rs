use std::{fs, path::Path};

use super::*;
use crate::{
    config::ReviewKey,
    review::{
        new_sealing_key,
        store::stand::{Stand, case},
    },
};

fn keys(dir: &Path, ids: &[&str]) -> Option<Seal> {
    let key = |id: &&str| {
        let file = dir.join(id);
        if !file.exists() {
            fs::write(&file, new_sealing_key().unwrap().expose()).unwrap();
        }
        ReviewKey { id: (*id).to_owned(), env: None, file: Some(file) }
    };
    Seal::new(&ids.iter().map(key).collect::<Vec<_>>()).unwrap()
}

#[tokio::test]
async fn another_key_takes_over_the_whole_record() {
    let (stand, dir) = (Stand::new(), tempfile::tempdir().unwrap());
    for url in &stand.urls {
        let store = async |ids: &[&str]| Store::open(url).await.unwrap().sealing(keys(dir.path(), ids));
        let at = "2026-01-01T00:00:00Z";
        store(&[]).await.record(&[case("clear", at, 0.75)]).await.unwrap();
        store(&["old"]).await.record(&[case("sealed", at, 0.75)]).await.unwrap();
        assert!(store(&[]).await.reseal("ana").await.unwrap_err().to_string().contains("names no key"));
        let missing = store(&["new"]).await.reseal("ana").await.unwrap_err();
        assert!(missing.to_string().contains("`old`"), "{missing}");
        assert_eq!(store(&["new", "old"]).await.reseal("ana").await.unwrap(), 2);
        let new = store(&["new"]).await;
        for id in ["clear", "sealed"] {
            assert_eq!(new.case(id).await.unwrap().unwrap(), case(id, at, 0.75));
        }
        assert_eq!(new.reseal("ana").await.unwrap(), 0);
        assert!(store(&["old"]).await.case("clear").await.is_err());
        assert!(new.verify(None).await.unwrap().broken.is_none());
    }
    let file = stand.urls[0].strip_prefix("sqlite://").unwrap();
    for end in ["", "-wal"] {
        let bytes = fs::read(format!("{file}{end}")).unwrap_or_default();
        assert!(!bytes.windows(9).any(|bytes| bytes == b"the words"), "what was in the clear is gone");
    }
}
