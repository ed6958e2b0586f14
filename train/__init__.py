"""The training process: one Ray Job that turns a job's data into an adapter.

The life of a training:

1. ``run`` reads the job from the journal and starts Ray Train; ``room`` and ``sign_of_life`` speak
   for it while others have the room; ``rendezvous`` joins the workers.
2. ``loop`` runs on every worker: ``preload`` imports, ``data`` and ``masking`` make token rows,
   ``methods`` the model, ``deepspeed`` the sharding.
3. ``trainer`` builds TRL's trainer and ``callbacks`` hooks into its steps: ``reporter`` speaks to
   the journal from rank 0, ``progress`` counts, ``stop`` carries a request to end to every worker,
   ``checkpoint`` keeps and finds complete checkpoints, ``evaluate`` the best weights.
4. ``export`` writes the weights with their ``card``; ``publish`` hands them to the catalogue.
"""
