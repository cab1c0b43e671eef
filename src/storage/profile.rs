//! The shared files of the AWS tools, `~/.aws/credentials` and `~/.aws/config`, which the
//! store client does not read. Format: the AWS CLI user guide, "Configuration and
//! credential file settings".

use std::path::{Path, PathBuf};

use super::environment::Environment;

/// What a profile says, as far as it concerns us. Has no `Debug`: it holds secrets.
#[derive(Default)]
pub(super) struct Profile {
    pub(super) name: String,
    pub(super) key_id: Option<String>,
    pub(super) secret: Option<String>,
    pub(super) token: Option<String>,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) role_arn: Option<String>,
    pub(super) web_identity_token_file: Option<String>,
    /// A way to get credentials that is not supported, if that is all there is.
    pub(super) unsupported: Option<&'static str>,
    /// Whether some file has a section for it.
    pub(super) found: bool,
}

/// Ways to get credentials that need another program, a browser or a second request.
const UNSUPPORTED: [&str; 5] = [
    "credential_process",
    "sso_session",
    "sso_start_url",
    "source_profile",
    "credential_source",
];

impl Profile {
    /// Reads the profile that the environment names, or `default`. The credentials file
    /// wins over the config file, as with the AWS tools.
    ///
    /// # Errors
    /// A file that is there and cannot be read: its path and the system's words. A named
    /// profile that no file has.
    pub(super) fn load(environment: &Environment) -> Result<Self, String> {
        let asked = environment.first(&["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]);
        let mut profile = Self {
            name: asked.unwrap_or("default").to_owned(),
            ..Self::default()
        };
        let home = environment.get("HOME").map(PathBuf::from);
        let file = |name: &str, usual: &str| {
            environment
                .get(name)
                .map(PathBuf::from)
                .or_else(|| home.as_ref().map(|home| home.join(".aws").join(usual)))
        };
        let keys_given = asked.is_none() && environment.get("AWS_ACCESS_KEY_ID").is_some();
        let mut other_ways = None;
        for (path, prefix) in [
            (file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), ""),
            (file("AWS_CONFIG_FILE", "config"), "profile "),
        ] {
            let text = match path.as_deref().map(read).transpose() {
                Ok(text) => text.flatten(),
                // A server's archive_command often runs with another user's HOME; with keys
                // in the environment nobody needs that user's files.
                Err(_) if keys_given => None,
                Err(words) => return Err(words),
            };
            let Some(text) = text else {
                continue;
            };
            profile.take_from(&text, prefix, &mut other_ways);
        }
        if profile.key_id.is_none() && profile.web_identity_token_file.is_none() {
            profile.unsupported = other_ways;
        }
        if asked.is_some() && !profile.found {
            return Err(format!(
                "no profile {:?} in the AWS credentials and config files",
                profile.name
            ));
        }
        Ok(profile)
    }

    /// Takes what is not yet set from the profile's section of a file.
    fn take_from(&mut self, text: &str, prefix: &str, other_ways: &mut Option<&'static str>) {
        let mut ours = false;
        for line in text.lines() {
            // An indented line belongs to a nested setting (`s3 =`), which is not ours.
            let nested = line.starts_with([' ', '\t']);
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) || nested {
                continue;
            }
            if let Some(section) = line.strip_prefix('[') {
                let section = section.split(']').next().unwrap_or_default().trim();
                let name = section
                    .strip_prefix(prefix)
                    .map_or(section, |name| name.trim());
                ours = name == self.name
                    && (section != name || prefix.is_empty() || name == "default");
                self.found |= ours;
                continue;
            }
            let Some((name, value)) = line.split_once('=').filter(|_| ours) else {
                continue;
            };
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
            let slot = match name.as_str() {
                "aws_access_key_id" => &mut self.key_id,
                "aws_secret_access_key" => &mut self.secret,
                "aws_session_token" => &mut self.token,
                "region" => &mut self.region,
                "endpoint_url" => &mut self.endpoint,
                "role_arn" => &mut self.role_arn,
                "web_identity_token_file" => &mut self.web_identity_token_file,
                _ => {
                    if let Some(way) = UNSUPPORTED.into_iter().find(|way| *way == name) {
                        other_ways.get_or_insert(way);
                    }
                    continue;
                }
            };
            if !value.is_empty() {
                slot.get_or_insert_with(|| value.to_owned());
            }
        }
    }
}

fn read(path: &Path) -> Result<Option<String>, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(credentials: &str, config: &str, more: &[(&str, &str)]) -> Result<Profile, String> {
        let home = tempfile::tempdir().unwrap();
        let aws = home.path().join(".aws");
        std::fs::create_dir(&aws).unwrap();
        std::fs::write(aws.join("credentials"), credentials).unwrap();
        std::fs::write(aws.join("config"), config).unwrap();
        let mut pairs = vec![("HOME".to_owned(), home.path().display().to_string())];
        pairs.extend(more.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())));
        Profile::load(&Environment::new(&pairs, []))
    }

    const CREDENTIALS: &str = "# mine\n[default]\naws_access_key_id = A\n\
        aws_secret_access_key=S=1\n\n[drill]\naws_access_key_id=B\naws_secret_access_key=T\n\
        aws_session_token=U\n";
    const CONFIG: &str = "[default]\nregion = eu-north-1\n[profile drill]\n\
        region=eu-west-1\nendpoint_url = https://s3.example.com\ns3 =\n  region = nested\n\
        [profile sso]\nsso_session = corp\n";

    #[test]
    fn sections_are_found() {
        let profile = load(CREDENTIALS, CONFIG, &[]).unwrap();
        assert_eq!(profile.key_id.as_deref(), Some("A"));
        assert_eq!(profile.secret.as_deref(), Some("S=1"));
        assert_eq!(profile.token, None);
        assert_eq!(profile.region.as_deref(), Some("eu-north-1"));
        let profile = load(CREDENTIALS, CONFIG, &[("AWS_PROFILE", "drill")]).unwrap();
        assert_eq!(profile.key_id.as_deref(), Some("B"));
        assert_eq!(profile.token.as_deref(), Some("U"));
        assert_eq!(profile.region.as_deref(), Some("eu-west-1"));
        assert_eq!(profile.endpoint.as_deref(), Some("https://s3.example.com"));
        assert_eq!(profile.unsupported, None);
    }

    #[test]
    fn what_is_not_there_or_not_supported_is_said() {
        let profile = load(CREDENTIALS, CONFIG, &[("AWS_PROFILE", "sso")]).unwrap();
        assert_eq!(profile.unsupported, Some("sso_session"));
        let error = load(CREDENTIALS, CONFIG, &[("AWS_PROFILE", "nobody")]).err();
        assert!(error.unwrap().contains("no profile \"nobody\""));
        let profile = Profile::load(&Environment::new(&[], [])).unwrap();
        assert!(!profile.found);
    }

    #[test]
    fn another_users_files_do_not_matter_beside_keys_in_the_environment() {
        let home = tempfile::tempdir().unwrap();
        // A directory in the file's place cannot be read as a file, not even by root.
        std::fs::create_dir_all(home.path().join(".aws/credentials")).unwrap();
        let home = ("HOME".to_owned(), home.path().display().to_string());
        assert!(Profile::load(&Environment::new(std::slice::from_ref(&home), [])).is_err());
        let key = ("AWS_ACCESS_KEY_ID".to_owned(), "A".to_owned());
        let profile = Profile::load(&Environment::new(&[home, key], [])).unwrap();
        assert!(!profile.found);
    }
}
