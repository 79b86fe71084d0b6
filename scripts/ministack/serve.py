"""MiniStack with what it leaves out of the services that Skyhaul's control plane rests on.

Run by the Python of MiniStack's own environment. Each module here corrects one service when it is installed,
and says in its first lines what of the real service's behaviour it adds; `faults` makes them fail when asked to.
"""

import alarms
import ec2
import faults
import iam
import scheduler
import sfn
import units

from ministack.app import main

if __name__ == "__main__":
    alarms.install()
    ec2.install()
    iam.install()
    units.install()
    faults.install()
    scheduler.install()
    sfn.install()
    main()
