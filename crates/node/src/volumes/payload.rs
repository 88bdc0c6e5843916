//! Which files a generated volume has: ConfigMap, Secret, downward API and projected sources as one map of paths.

use std::collections::BTreeMap;

use super::{Facts, Owner};
use crate::{
    env,
    pod::{ConfigMapVolume, DownwardFile, KeyToPath, Pod, SecretVolume, Volume},
    resources,
    sources::Sources,
};

const DEFAULT_MODE: u32 = 0o644;

/// Relative paths and files.
pub(super) type Payload = BTreeMap<String, Entry>;

/// One file. Not `Debug`: it may hold a token.
pub(super) struct Entry {
    pub data: Vec<u8>,
    pub mode: u32,
    pub user: Option<u32>,
}

/// The files of a generated volume.
pub(super) fn of(
    pod: &Pod,
    volume: &Volume,
    sources: &Sources,
    facts: &Facts<'_>,
    owner: &Owner,
) -> Result<Payload, String> {
    let mut payload = Payload::new();
    if let Some(map) = &volume.config_map {
        config_map(&mut payload, map, map.default_mode, sources)?;
    }
    if let Some(secret_volume) = &volume.secret {
        secret(&mut payload, secret_volume, secret_volume.default_mode, sources)?;
    }
    if let Some(downward) = &volume.downward_api {
        downward_api(&mut payload, &downward.items, downward.default_mode, pod, facts)?;
    }
    if let Some(projected) = &volume.projected {
        for source in &projected.sources {
            let mode = projected.default_mode;
            if let Some(map) = &source.config_map {
                config_map(&mut payload, map, mode, sources)?;
            }
            if let Some(s) = &source.secret {
                secret(&mut payload, s, mode, sources)?;
            }
            if let Some(downward) = &source.downward_api {
                downward_api(&mut payload, &downward.items, mode, pod, facts)?;
            }
            if let Some(wanted) = &source.service_account_token {
                let token = sources.tokens.get(wanted).ok_or("failed to fetch token")?;
                // a token belongs to its reader alone, as soon as it is known who that is
                let narrow = owner.user.is_some() || owner.group.is_some();
                let mode = if narrow { 0o600 } else { mode.unwrap_or(DEFAULT_MODE) };
                put(&mut payload, &wanted.path, token.as_bytes().to_vec(), mode, owner.user)?;
            }
        }
    }
    Ok(payload)
}

fn config_map(
    payload: &mut Payload,
    volume: &ConfigMapVolume,
    mode: Option<u32>,
    sources: &Sources,
) -> Result<(), String> {
    let Some(map) = sources.config_maps.get(&volume.name) else {
        return if volume.optional { Ok(()) } else { Err(format!("configmap {:?} not found", volume.name)) };
    };
    let mut data: BTreeMap<&str, &[u8]> = map.data.iter().map(|(k, v)| (k.as_str(), v.as_bytes())).collect();
    data.extend(map.binary.iter().map(|(k, v)| (k.as_str(), v.as_slice())));
    keys(payload, &data, &volume.items, mode, volume.optional, "config")
}

fn secret(payload: &mut Payload, volume: &SecretVolume, mode: Option<u32>, sources: &Sources) -> Result<(), String> {
    let Some(secret) = sources.secrets.get(&volume.secret_name) else {
        return if volume.optional { Ok(()) } else { Err(format!("secret {:?} not found", volume.secret_name)) };
    };
    let data: BTreeMap<&str, &[u8]> = secret.data.iter().map(|(k, v)| (k.as_str(), v.as_slice())).collect();
    keys(payload, &data, &volume.items, mode, volume.optional, "secret")
}

fn keys(
    payload: &mut Payload,
    data: &BTreeMap<&str, &[u8]>,
    items: &[KeyToPath],
    mode: Option<u32>,
    optional: bool,
    word: &str,
) -> Result<(), String> {
    let mode = mode.unwrap_or(DEFAULT_MODE);
    if items.is_empty() {
        return data.iter().try_for_each(|(key, value)| put(payload, key, value.to_vec(), mode, None));
    }
    for item in items {
        match data.get(item.key.as_str()) {
            Some(value) => put(payload, &item.path, value.to_vec(), item.mode.unwrap_or(mode), None)?,
            None if optional => {}
            None => return Err(format!("references non-existent {word} key: {}", item.key)),
        }
    }
    Ok(())
}

fn downward_api(
    payload: &mut Payload,
    items: &[DownwardFile],
    mode: Option<u32>,
    pod: &Pod,
    facts: &Facts<'_>,
) -> Result<(), String> {
    for item in items {
        let value = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => env::pod_field(&field.field_path, pod, facts.pod_ips, facts.host_ips)?,
            (None, Some(field)) => {
                let (_, container) = pod
                    .container(&field.container_name)
                    .ok_or_else(|| format!("container {} not found", field.container_name))?;
                resources::field_value(field, container, facts.capacity)?
            }
            (None, None) => continue,
        };
        put(payload, &item.path, value.into_bytes(), item.mode.or(mode).unwrap_or(DEFAULT_MODE), None)?;
    }
    Ok(())
}

/// A later source wins. Paths are validated by the API server; what would leave the volume is refused here too.
fn put(payload: &mut Payload, path: &str, data: Vec<u8>, mode: u32, user: Option<u32>) -> Result<(), String> {
    let bad = path.is_empty()
        || path.starts_with('/')
        || path.starts_with("..")
        || path.split('/').any(|part| part == ".." || part == "." || part.is_empty());
    if bad {
        return Err(format!("invalid path: must be relative and not contain '..': {path}"));
    }
    payload.insert(path.to_owned(), Entry { data, mode: mode & 0o7777, user });
    Ok(())
}
