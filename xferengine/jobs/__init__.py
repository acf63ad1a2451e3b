"""Jobs: where scan, manifest, scheduler, streams and server meet. One job is one request of a person.

Terms: a *spec* says what, a *plan* is a spec resolved against input and server, a *study* is what people call a
session, a *unit* is one bundle of a study.

    run_job(spec, settings)                                    runner
      open the manifest (lock, lease) → free units of a dead run
      open the engine: login, lanes, budgets                   assemble
      scan → duplicates → labels → clashes → server's view     planning, targets, labels, mapfile, preflight
      show the plan, ask                                       plan, planfile
      for each study, biggest first, some side by side:        upload, study
        whose rows are there? is the label taken?              rows, present
        first bundle alone → where did it land? → fan out      study_send, attempt, trouble
        build → compare every name and size → send again       study_close
        validate → archive → look until the row is gone        study_archive, locks
        extra files → compare UIDs with the catalogs           extras, study_archive
      write reports, say how it ended                          report, studyreport, outcome

Every arrow is a state in the manifest before the next step begins, so a run that is killed anywhere goes on from there.
``admin``, ``prearchive_ops``, ``doctor`` and ``whoami`` serve the other commands. Start at ``runner.run_job`` and
``study.StudyRun``.
"""
