//! Corners where builders are known to differ. Expectations are BuildKit's; where Kiln differs on purpose, the reason is
//! in `docs/deviations.md`. Names in backquotes are tests of the modules beside this one.
//!
//! 1. COPY of a directory: its content, whatever the slashes: copy::a_directory_is_its_content_whatever_the_slashes
//! 2. patterns flatten directories and follow the links they name: copy::a_pattern_flattens_directories_and_follows_links_it_names
//! 3. several sources, no slash: copy::several_sources_without_a_slash_are_one_file
//! 4. a destination that is a dangling link: copy::a_dangling_link_becomes_a_directory_with_a_slash
//! 5. a destination that is a link to a directory: `copy::links_in_the_context_and_in_the_image` of the parent
//! 6. what is in the way: copy::a_directory_does_not_replace_a_link_to_one, `copy::what_is_in_the_way`
//! 7. --link over a link; with a mode: `copy::link_layers_stand_alone`, copy::link_sets_the_mode_of_the_new_directory
//! 8. --link with a name for an owner: `copy::link_layers_stand_alone`, copy::link_sets_the_mode_of_the_new_directory
//! 9. --chown of nobody known (a deviation): `copy::owners_and_modes`
//! 10. --chmod and implicit parents: copy::modes_and_owners_are_for_implicit_parents_too, copy::directories_that_copy_makes_are_made_under_a_umask
//! 11. setuid, setgid, sticky: copy::special_bits_survive_every_way
//! 12. `..` and links out of the context: `copy::nothing_outside_the_context_is_read`
//! 13. patterns that miss, literal brackets: copy::patterns_may_miss_names_may_not, copy::what_is_in_front_of_a_pattern_has_to_be_there
//! 14. dots in destinations: copy::dots_in_destinations
//! 15. pipes and sockets: copy::pipes_are_copied_and_sockets_are_not
//! 16. the root of an archive: add::the_root_of_an_archive_is_not_the_destination
//! 17. archives are known by content: `add::archives_are_unpacked_by_content`
//! 18. --chown of an archive: add::chown_of_an_archive_is_for_its_entries_and_the_destination
//! 19. hard links within and across layers: layers::hard_links_break_across_layers_and_hold_inside_one
//! 20. a directory made again: `run::only_what_changed_is_in_the_layer`
//! 21. files, links and directories in each other's place: layers::kinds_change_across_layers_without_stale_whiteouts
//! 22. whiteouts only of what was there: layers::what_never_was_below_has_no_whiteout
//! 23. a file named as a whiteout (a deviation): layers::a_file_with_the_name_of_a_whiteout_is_an_error
//! 24. commands that change nothing, or only times: layers::times_alone_are_a_change_and_moving_away_and_back_is_none
//! 25. extended attributes: layers::attributes_of_users_stay_out_of_layers
//! 26. VOLUME: config::volumes_keep_later_writes_and_make_nothing
//! 27. USER and groups: config::who_a_user_is, `run::exit_codes_are_passed_on`
//! 28. WORKDIR: config::working_directories
//! 29. ENV sees what was before its line: arguments::one_instruction_sees_what_was_before_it
//! 30. ARG, its scopes, and ENV: arguments::the_later_of_arg_and_env_is_what_commands_see, arguments::a_stage_on_a_stage_has_its_arguments_a_sibling_has_not
//! 31. ARG in FROM: arguments::bases_are_substituted
//! 32. names of stages: stages::names_of_stages, stages::from_wants_a_stage_as_an_image_would_be_written, stages::circles_are_errors, stages::what_nobody_needs_is_not_looked_at
//! 33. heredocs: arguments::heredocs_expand_like_words, arguments::the_text_of_a_heredoc_is_in_the_key, `run::forms_of_commands`
//! 34. .dockerignore: copy::ignore_files_are_read_in_order, `copy::dockerignore_and_exclude`
//! 35. CMD, ENTRYPOINT, SHELL: config::commands_and_entrypoints
//! 36. EXPOSE: config::ports_and_signals
//! 37. HEALTHCHECK, STOPSIGNAL: config::health_checks_can_be_taken_away, config::the_history_is_what_other_tools_expect, config::ports_and_signals
//! 38. ONBUILD: stages::triggers_run_in_the_child_once
//! 39. mounts of RUN: layers::mount_points_are_seen_and_not_kept, `run::mounts`
//! 40. /etc/hosts, /etc/resolv.conf: layers::files_of_the_network_keep_what_the_image_has
//! 41. proxies in the history: arguments::proxies_are_in_the_history_only_when_declared
//! 42. variants of platforms: config::a_platform_with_a_variant_is_in_the_configuration
//! 43. SOURCE_DATE_EPOCH: `reproducible::layers_of_the_base_keep_their_times_and_bytes`
//! 44. the history: config::the_history_is_what_other_tools_expect; every image that a test opens is counted
//! 45. long and odd names, large ids, old times: layers::many_layers_and_odd_things, `copy::odd_names_survive`
//! 46. what still runs when a command ends: `run::daemons_do_not_outlive_their_step`
//! 47. where programs are found: config::programs_are_found_in_the_image, `run::a_static_program_on_nothing`
//! 48. children without parents: `run::daemons_do_not_outlive_their_step`
//! 49. bases that are not as they should be: bases::variables_without_a_value_and_relative_directories, bases::images_without_layers_as_others_write_them, config::who_a_user_is
//! 50. many layers, doubled and early entries: layers::many_layers_and_odd_things, bases::the_last_entry_of_a_name_wins_in_layers_too, add::the_last_entry_of_a_name_wins_and_order_does_not_matter

mod add;
mod arguments;
mod bases;
mod config;
mod copy;
mod layers;
mod stages;
