"""Clusters that a command can be sent to: `submit --on SITE -- VERB ...`.

site           what a site file says
finding        the file of a site, by name or path
fitting        nodes, GPUs, workers and times checked against each other, before anything is sent
code           the code as it is now, frozen into an archive
job            what is sent: a command, its code, what it takes
ledger         what was sent from this machine
shell          commands here or over ssh
slurm, kuberay, ray_jobs, ray_up   a kind of site each, with the same functions (`kinds`)
"""
