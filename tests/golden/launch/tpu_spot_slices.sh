gcloud compute tpus queued-resources describe run1 --zone=us-east5-b --project=lab '--format=value(state.state)'
# run1: not there
git -C ROOT status --porcelain --untracked-files=no
git -C ROOT archive --format=tar.gz --output=/tmp/run1.tar.gz HEAD
gcloud compute tpus queued-resources create run1 --node-count=4 --node-prefix=run1 --accelerator-type=v6e-64 --runtime-version=v2-alpha-tpuv6e --spot --quiet --zone=us-east5-b --project=lab
gcloud compute tpus queued-resources describe run1 --zone=us-east5-b --project=lab '--format=value(state.state)'
# run1: WAITING_FOR_RESOURCES
sleep 30  # and ask again, until it is ACTIVE
gcloud compute tpus queued-resources describe run1 --zone=us-east5-b --project=lab '--format=value(state.state)'
# run1: ACTIVE
gcloud compute tpus queued-resources ssh run1 --zone=us-east5-b --project=lab --node=0 --worker=0 '--command=bash run1/launch/tpu_host.sh ask || echo none' --quiet
gcloud compute tpus queued-resources scp /tmp/run1.tar.gz run1: --zone=us-east5-b --project=lab --node=all --worker=all --quiet
gcloud compute tpus queued-resources ssh run1 --zone=us-east5-b --project=lab --node=all --worker=all '--command=mkdir -p run1 && tar -xzf run1.tar.gz -C run1 && bash run1/launch/tpu_host.sh prepare' --quiet
gcloud compute tpus queued-resources ssh run1 --zone=us-east5-b --project=lab --node=all --worker=all '--command=bash run1/launch/tpu_host.sh start emojax train --config base --out gs://bucket/run1 --resume --processes 64' --quiet
gcloud compute tpus queued-resources ssh run1 --zone=us-east5-b --project=lab --node=0 --worker=0 '--command=bash run1/launch/tpu_host.sh follow' --quiet
gcloud compute tpus queued-resources ssh run1 --zone=us-east5-b --project=lab --node=0 --worker=0 '--command=bash run1/launch/tpu_host.sh ask || echo none' --quiet
gcloud compute tpus queued-resources delete run1 --force --quiet --zone=us-east5-b --project=lab
# preempted meanwhile (SUSPENDED or FAILED): delete, and again from create on, with the same commands
