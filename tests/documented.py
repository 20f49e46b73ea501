"""Which test runs each command of the documentation; ``test_docs.py`` holds that none is missing.

A pattern must match a whole command, as the pages write it without its comment.
"""

END_TO_END, REGISTRY = "tests/test_end_to_end.py", "tests/commands/test_registry.py"
COMMANDS, MOUNTING = "tests/commands/test_commands.py", "tests/test_mounting.py"
DVC, TUTORIALS = "tests/test_dvc_project.py", "tests/tutorials/test_tutorials.py"
LADDER, CALIBRATION = "tests/test_ladder.py", "tests/commands/test_calibration.py"

RUN_BY = {
    "tests/commands/test_detections.py::test_a_class_that_disappears_is_refused_and_counted_as_"
    "pycocotools_does": [r"kedro ptq detections .*"],
    "tests/test_detection_audit.py::test_a_detector_ends_in_a_verdict_about_objects_and_alarms": [
        "kedro run --env detection",
    ],
    "tests/commands/test_compare.py::test_an_onnx_and_a_tflite_file_are_compared": [
        r"kedro ptq compare .*"
    ],
    "tests/commands/test_compare.py::test_answers_of_two_hosts_are_judged_by_id": [
        r"kedro ptq answers .*"
    ],
    "tests/commands/test_audit.py::test_weights_and_images_become_a_verdict_and_what_stays_is_a"
    "_project": [r"kedro ptq audit --weights .*", r"kedro ptq open( audited)?"],
    "tests/commands/test_audit.py::test_an_onnx_file_is_audited_and_kept_and_goes_on_as_a"
    "_project": [
        r"kedro ptq audit --onnx .*",
        "kedro ptq gate --mount audit",
    ],
    "tests/commands/test_judge.py::test_the_commands_of_the_page_run": [r"kedro ptq judge( .*)?"],
    f"{END_TO_END}::test_the_run_ends_in_a_verdict_a_decision_and_a_report": ["kedro run"],
    f"{END_TO_END}::test_other_ways_through_the_chain_end_in_a_verdict": [
        r"kedro run --env (quick|passing)",
        r"kedro ptq plan --env (quick|full)",
        r"kedro run --pipelines data_loading,calibration,until_refused,.*",
        r"kedro run --pipelines data_loading,calibration,sampled,.*",
    ],
    f"{END_TO_END}::test_interrupted_and_then_killed_it_resumes_to_the_same_bytes": [
        r"kedro run --pipelines quantization --params \".*kind=dask.*",
    ],
    f"{END_TO_END}::test_a_plan_is_made_of_a_real_project": ["kedro ptq plan"],
    f"{END_TO_END}::test_a_study_reads_the_answers_of_a_run": [r"python benchmarks/changed_.*"],
    f"{END_TO_END}::test_the_report_is_written_again_from_its_tables_and_in_japanese": [
        r"kedro ptq report( --language ja .*)?",
    ],
    f"{END_TO_END}::test_explain_says_why_a_group_loses": [
        r"kedro ptq explain( GROUP| 'class Sandal')?",
    ],
    "tests/test_own_data.py::test_a_manifest_becomes_samples_with_its_segments": [
        "kedro run --pipelines data_loading",
    ],
    "tests/test_watch.py::test_a_broken_window_stops_a_run_only_where_it_is_named": [
        "kedro run --pipelines drift",
    ],
    f"{REGISTRY}::test_the_pipeline_releases_as_promote_does": ["kedro run --pipelines release"],
    f"{DVC}::test_a_plain_run_writes_the_same_files_and_dvc_commit_adopts_what_it_changed": [
        "kedro run --pipelines worst_case_check,promotion",
        "dvc commit",
    ],
    "tests/commands/test_stages.py::test_an_obvious_failure_is_refused_after_five_draws_at_most_and"
    "_a_good_one_passes_at_the_preset": [
        r"kedro ptq stages( --stages passing)?",
        "kedro run --pipelines settling",
    ],
    f"{TUTORIALS}::test_a_torchvision_network_from_an_empty_folder_to_its_verdict": [
        r"kedro new --name shop .*",
        r"kedro (run --pipelines|ptq \w+ --mount) fruit.*",
        "kedro ptq init fruit",
    ],
    f"{TUTORIALS}::test_a_factory_and_a_dataset_class_of_ones_own": [
        r"kedro new --name orchard .*",
        r"kedro (run --pipelines|ptq \w+ --mount) harvest.*",
        "kedro ptq init harvest",
    ],
    f"{MOUNTING}::test_init_is_idempotent_and_keeps_what_was_changed": [
        r"kedro ptq init( shop| farm)?",
    ],
    f"{MOUNTING}::test_two_mounts_run_side_by_side_and_do_not_touch_each_other": [
        "kedro run --pipelines shop",
        "kedro ptq gate --mount shop",
    ],
    f"{MOUNTING}::test_an_environment_of_the_host_changes_a_value_and_writes_elsewhere": [
        r"kedro (run|ptq gate) --env night .*",
    ],
    f"{MOUNTING}::test_a_mount_is_watched_and_requantized": [
        "kedro ptq watch --once --mount shop",
    ],
    f"{MOUNTING}::test_the_doctor_finds_that_a_mount_can_be_audited": [
        "kedro ptq doctor --mount shop",
    ],
    f"{MOUNTING}::test_kedro_packages_the_host_with_its_mounts": ["kedro package"],
    "tests/test_packaging.py::test_the_packaged_project_runs_where_its_data_is": [
        r"python -m ptq_pipeline --conf-source .*",
    ],
    "tests/reporting/test_viz.py::test_kedro_viz_shows_the_figures_and_names_the_pipelines": [
        "kedro viz build --include-previews",
    ],
    f"{COMMANDS}::test_kedro_shows_the_group": [r"kedro ptq( --help| \.\.\.)?"],
    f"{COMMANDS}::test_every_help_text_has_an_example_of_its_own_command": [
        r"kedro ptq (gate|watch) --help"
    ],
    f"{COMMANDS}::test_the_help_costs_less_than_a_second_more_than_kedros": ["kedro --help"],
    f"{COMMANDS}::test_a_real_command_prints_json_alone_also_with_verbose": [
        r"kedro ptq doctor( --(json|verbose))?",
        r"kedro ptq methods( --json)?",
    ],
    f"{REGISTRY}::test_the_gate_answers_by_its_exit_code": [
        r"kedro ptq gate( --json > gate.json)?"
    ],
    f"{REGISTRY}::test_promote_rollback_history_status_and_verify": [
        r"kedro ptq (promote|rollback --to (v0002|VERSION)|history|verify|recover)",
        r"kedro ptq status( --json)?",
    ],
    f"{REGISTRY}::test_an_mlflow_server_that_is_away_holds_up_no_promotion": ["kedro ptq mlflow"],
    f"{REGISTRY}::test_a_waiver_can_be_withdrawn_and_the_log_keeps_both": [
        "kedro ptq withdraw RECORD",
    ],
    f"{REGISTRY}::test_decisions_of_other_environments_are_refused_unless_allowed": [
        "kedro ptq gate --env passing",
    ],
    "tests/commands/test_archive.py::test_the_archive_holds_the_decision_and_what_it_rests_on_with"
    "_hashes": [r"kedro ptq evidence( -o evidence.zip.*)?"],
    "tests/commands/test_archive.py::test_a_frozen_policy_is_in_the_archive_with_its_date": [
        r"kedro ptq policy freeze( .*)?",
    ],
    "tests/commands/test_archive.py::test_a_signature_holds_and_a_wrong_key_is_one_sentence": [
        r"kedro ptq evidence --sign .*",
    ],
    f"{REGISTRY}::test_history_is_also_a_page_and_two_audits_stand_side_by_side": [
        "kedro ptq history --html history.html",
        r"kedro ptq compare-audits( .*)?",
    ],
    f"{REGISTRY}::test_a_waiver_opens_the_gate_and_stands_in_the_record": [
        r"kedro ptq waive( RULE)?",
    ],
    f"{REGISTRY}::test_an_obligation_needs_an_acknowledgement": [
        r"kedro ptq promote --acknowledge .*",
    ],
    "tests/registry/test_gto.py::test_versions_and_stages_are_tagged_and_rolled_back": [
        "kedro ptq promote --gto",
    ],
    "tests/registry/test_audits.py::test_verify_against_a_revision_answers_by_word_and_exit_code": [
        r"kedro ptq verify --against( HEAD| REV)?",
    ],
    "tests/commands/test_report.py::test_the_command_writes_the_same_card_again_and_in_japanese": [
        r"kedro ptq card( v0002 .*)?",
    ],
    f"{CALIBRATION}::test_everything_leads_to_the_exact_images": [
        r"kedro ptq calibration show (ID|v0003 --images)",
    ],
    f"{CALIBRATION}::test_diff_says_how_sets_differ": [r"kedro ptq calibration diff .*"],
    "tests/commands/test_calibration_design.py"
    "::test_the_winner_is_confirmed_once_and_stands_in_the_ledger": [
        r"kedro ptq calibration design( .*)?",
    ],
    "tests/commands/test_divergence.py::test_outputs_of_a_draw_are_compared_by_class_and_segment": [
        "kedro ptq divergence"
    ],
    "tests/commands/test_store.py"
    "::test_what_nothing_refers_to_is_measured_and_removed_when_it_is_old": [
        r"kedro ptq store( --clean --unused-for 90)?",
    ],
    "tests/trials/executors/test_dask_cluster.py::test_the_doctor_says_it_of_each_worker": [
        r"kedro ptq doctor --scheduler .*",
    ],
    "tests/commands/test_repair.py::test_a_search_finds_a_recipe_and_its_audit_is_entered_once": [
        r"kedro ptq repair( --from-scratch --search-only)?",
        "kedro run --env repaired",
    ],
    f"{LADDER}::test_the_first_recipe_that_passes_ends_the_ladder": [
        r"kedro ptq ladder( --mount shop)?",
    ],
    "tests/test_drift_story.py::test_drift_fires_the_champion_fails_and_a_candidate_is_promoted": [
        r"kedro ptq watch( --once)?",
        "python scripts/drift_story.py FOLDER",
    ],
    "tests/test_drift_story.py::test_a_dry_run_advises_and_remembers_nothing": [
        "kedro ptq watch --once --dry-run",
    ],
    f"{DVC}::test_a_clean_clone_with_an_empty_trial_store_gives_the_same_hashes": [
        r"dvc (repro( --force)?|status)",
    ],
    f"{DVC}::test_a_release_reruns_the_check_and_dvc_never_touches_the_state": [
        "dvc checkout",
        "dvc gc -w",
    ],
    f"{DVC}::test_what_changed_runs_again_with_what_follows_and_nothing_else": [
        r"dvc (metrics|params) diff( REV)?",
    ],
    f"{DVC}::test_sets_and_candidates_move_between_clones": [r"dvc (pull|push)"],
    f"{DVC}::test_plots_of_the_check_can_be_drawn": ["dvc plots"],
    "tests/test_docs.py::test_the_site_builds_strictly_and_fetches_nothing": ["make docs"],
    "tests/test_table_case.py::test_the_page_says_what_the_commands_find": [
        r"python benchmarks/table_case.py .*"
    ],
    "tests/test_clusters.py::test_each_task_runs_a_pipeline_after_those_whose_results_it_reads": [
        "python scripts/airflow_dag.py",
        "kedro run --pipelines NAME",
    ],
    "tests/test_docs.py::test_a_study_of_seconds_runs": [r"python benchmarks/shift_contact_.*"],
}

# What no test runs, and why. Of the studies a test loads each file.
NOT_RUN = {
    r"make (audit|lint|test|test-all|coverage)": "they run what this suite is, or `kedro run`",
    r"make (bench|benchmark|coverage-study|reconstruction)": "minutes to hours, on quiet cores",
    r"make (check-cost|fault-study|kill-study|repair-study)": "minutes to hours, on quiet cores",
    r"make (detection-study|model-study)": "minutes to hours, on quiet cores",
    "kedro run --env full": "16 minutes of a processor; a test judges by its policy",
    r"python benchmarks/.*": "minutes to hours; their figures are in docs/",
    r"kedro run .*--pipelines (data_loading,)?benchmark.*": "hours; a test runs its nodes",
    r"python -m (venv .venv|pip install .*)": "installs from a package index",
    r"kedro airflow create .*": "another package's command, which writes what its page says",
    r"dvc plots diff REV": "DVC's own page around what `dvc plots` is tested to draw",
}
