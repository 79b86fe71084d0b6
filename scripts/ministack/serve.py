"""MiniStack with what it leaves out of the services that Skyhaul's control plane rests on.

Run by the Python of MiniStack's own environment. Each module here corrects one service when it is imported,
and says in its first lines what of the real service's behaviour it adds.
"""

import ec2
import scheduler
import sfn

from ministack.app import main

if __name__ == "__main__":
    ec2.install()
    scheduler.install()
    sfn.install()
    main()
