"""Clusters that a command can be sent to: `submit --on SITE -- VERB ...`.

site           what a site file says
finding        the file of a site, by name or path
words          the words of a command, checked before anything is sent
fitting        nodes, GPUs and workers checked against each other
code           the code as it is now, frozen into an archive
job            what is sent: a command, its code, what it takes
ledger         what was sent from this machine
fetching       what a job has made, over ssh
shell          commands here or over ssh
kinds          what each kind of site does: slurm, kuberay, ray_jobs, ray_up
slurm_*        the script of a Slurm job, and what is checked before it is sent
ray_script     how a job starts at the head of a Ray cluster
kuberay_*      the objects of a job on Kubernetes, their fields, the API server, what is checked
documents      what `submit` and `sites` print with --json
"""
