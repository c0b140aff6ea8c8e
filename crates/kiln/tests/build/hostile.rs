//! What strangers may send, and what becomes of it: each lesson of a published hole has its test.
//!
//! ```text
//! lesson                                              where it is tested (build = this crate's tests/build)
//! context tar writes outside (CVE-2026-28406)         build hostile::contexts::names_and_links_stay_inside
//!   and its fix refused `..` in targets of links      build hostile::contexts::targets_of_links_are_kept_as_they_are
//! context of a URL writes outside (CVE-2020-10696)    build hostile::contexts::a_url_is_no_better
//! Dockerfile, ignore file is a link out               build hostile::contexts::files_that_say_how_to_build_are_read_inside
//!   (CVE-2026-44517)
//! ADD archive follows its links out                   build hostile::archives::links_lead_into_the_image_only
//!   (CVE-2026-17106)                                  store unpack::tests::nothing_outside_is_touched
//! decompressor of the image is run (CVE-2026-41567)   build hostile::archives::programs_of_the_image_are_not_run
//! base writes outside when unpacked, COPY through     build hostile::images::a_base_writes_nothing_outside,
//!   its links (kaniko 586)                            copies_through_links_stay_in_the_image
//! layer: garbage behind, members, wrong digest, size  build hostile::images::layers_are_what_their_digests_say
//! manifest without end (CVE-2017-14992)               registry hostile_pull::manifests_are_bounded
//! git `#ref:../..`, options (CVE-2026-33748)          plan git::tests::hostile_references_are_errors,
//!                                                     build hostile::urls::repositories_cannot_name_options_or_leave
//! git link as subdirectory (CVE-2026-44517)           build hostile::urls::a_subdirectory_is_no_way_out
//! password of a URL in history, titles, provenance    build hostile::urls::passwords_are_not_kept
//!   (CVE-2023-26054, CVE-2025-0495)
//! redirect to file://, with a login                   registry hostile_pull::redirects_keep_to_the_rules
//! 401 names the realm of another host                 registry hostile_auth::challenges_that_cannot_be_followed_are_named
//! WORKDIR /proc/self/fd/N (CVE-2024-21626)            build hostile::mounts::a_working_directory_is_inside
//! cache source, race (CVE-2024-23651)                 build hostile::races::links_that_change_lead_nowhere
//! mountpoint cleaner (CVE-2024-23652)                 sandbox mounts::links_in_the_image_lead_nowhere_outside
//! bind or cache source is a link to / (CVE-2024-1753) build hostile::mounts::sources_are_resolved_in_their_tree
//! cache id `../..` (CVE-2024-9675)                    build hostile::mounts::ids_of_caches_are_no_paths
//! masked paths, /dev/null replaced (CVE-2025-31133)   sandbox mounts::an_image_with_a_link_for_proc_is_refused,
//!                                                     isolation::kernel_files_are_hidden_or_read_only
//! supplementary groups (CVE-2022-2990)                sandbox isolation::the_user_is_exactly_the_given_one
//! keys that collide (CVE-2024-24557)                  plan key::tests::fields_do_not_run_into_each_other,
//!                                                     build hostile::limits::inputs_of_keys_do_not_run_into_each_other
//! a file changes while it is read                     build hostile::races::a_context_that_changes_under_our_hands
//! bombs by size, ratio                                oci compress::tests::bombs_stop_at_the_limit, ratios_are_bounded
//! bombs by count, depth, names, attributes            oci layer::tests::limits_hold,
//!                                                     a_million_entries, tree::tests::implied_parents_are_limited,
//!                                                     build hostile::limits::a_hundred_thousand_entries
//! pax of 4 GiB, negative sizes, sparse                build hostile::archives::headers_that_lie
//! `.wh.` where it is no whiteout                      build hostile::archives::headers_that_lie, images::whiteouts
//! devices, setuid                                     build hostile::contexts::devices_and_setuid
//! loops of links                                      build hostile::images::loops_of_links_end
//! giant /etc/passwd, /etc/group (CVE-2026-47262)      build hostile::limits::giant_lists_of_users
//! NUL, newline, not UTF-8 in names                    build hostile::contexts::odd_names_are_names
//! names that differ by case                           build hostile::contexts::odd_names_are_names
//! 10,000 stages, circles, a line of 64 MiB            build hostile::limits::large_dockerfiles,
//!                                                     spec large::one_line_of_64_mib
//! secrets in history, logs, layers, keys, arguments   build secrets
//! RUN reads the builder                               build secrets::a_hunter_finds_nothing
//! ```

mod archives;
mod contexts;
mod images;
mod limits;
mod mounts;
mod races;
mod urls;

use std::path::{Path, PathBuf};

use kiln_testkit::TestContext;

use crate::Bench;

/// A directory of the host with one file, which nothing may change or tell.
pub struct Outside(tempfile::TempDir);

/// What [`Outside::victim`] holds.
pub const UNTOLD: &str = "of the host, not of the build";

impl Outside {
    pub fn new() -> Outside {
        let dir = tempfile::Builder::new().prefix("outside-").tempdir().unwrap();
        std::fs::write(dir.path().join("victim"), UNTOLD).unwrap();
        Outside(dir)
    }

    pub fn dir(&self) -> &Path {
        self.0.path()
    }

    pub fn victim(&self) -> PathBuf {
        self.dir().join("victim")
    }

    /// The directory from anywhere: over the root.
    pub fn up(&self) -> String {
        format!("../../../../../../../../../../../..{}", self.dir().display())
    }

    /// That nothing was written, and nothing made.
    #[track_caller]
    pub fn is_untouched(&self) {
        assert_eq!(std::fs::read_to_string(self.victim()).unwrap(), UNTOLD);
        assert_eq!(std::fs::read_dir(self.dir()).unwrap().count(), 1, "something was made outside");
    }
}

/// That a file of the host is in nothing that a build left.
#[track_caller]
pub fn untold(b: &Bench) {
    let found = b.t.tool("grep", &["-r", "-l", "-a", UNTOLD, b.t.store().to_str().unwrap()]);
    assert_eq!(found.code, 1, "{found}");
}

/// A bench that keeps layers uncompressed, so that they can be searched.
pub fn bench() -> Bench {
    Bench::with(TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln"))).args(&["--compression=none"])
}
